"""PEFT configurations as plain JSON, in one order, whatever made them."""

from __future__ import annotations

from typing import Any


def plain_config(config: Any, base_id: str) -> dict[str, Any]:
    """A LoraConfig as the content of adapter_config.json, naming the base by its id.

    Sets become sorted lists, so that the same adapter gives the same bytes.
    """
    plain: dict[str, Any] = config.to_dict()
    plain["base_model_name_or_path"] = base_id
    plain["inference_mode"] = True
    for key, value in plain.items():
        if isinstance(value, set):
            plain[key] = sorted(value)
        elif hasattr(value, "value"):  # PEFT's enums are strings underneath
            plain[key] = value.value
    return plain
