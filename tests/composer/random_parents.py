"""Adapters of whole bases on this disk, both factors random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import save_file

from lftreg.models.base import FoundBase
from lftreg.models.configs import plain_config
from lftreg.models.load import load_base
from lftreg.registry import Draft, Registry, Version


def publish_random(
    registry: Registry, found: FoundBase, folder: Path, name: str, seed: int, **lora: Any
) -> Version:
    """Publish an adapter of a base as PEFT makes and saves it."""
    settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "target_modules": "all-linear"} | lora
    loaded = load_base(found)
    torch.manual_seed(seed)
    peft = get_peft_model(
        loaded.model, LoraConfig(task_type=loaded.task.peft, init_lora_weights=False, **settings)
    )
    file = folder / f"{name}-{seed}.safetensors"
    save_file(get_peft_model_state_dict(peft, save_embedding_layers=False), file)
    config = plain_config(peft.peft_config["default"], found.record.id)
    return registry.publish(Draft(name, "trained", found.record, file, config))
