"""Whether the weights of a base are numbers at all."""

from __future__ import annotations

import math
from typing import Any

from lftreg.errors import InvalidData


def check_weights(model: Any, name: str) -> None:
    """Raises InvalidData that names the first weight of a base which holds what is no number.

    Every weight is read once, so this is for when a loss has turned out not to be finite.
    """
    for key, tensor in model.state_dict().items():
        if ".lora_" in key or not tensor.is_floating_point() or not tensor.numel():
            continue
        low, high = (float(edge) for edge in tensor.aminmax())  # both are NaN where one value is
        if not (math.isfinite(low) and math.isfinite(high)):
            told = key.removeprefix("base_model.model.").replace(".base_layer.", ".")
            raise InvalidData(
                f"base {name!r} holds what is no finite number in {told}",
                "nothing can be trained on it: get its files again, or choose another base",
                code="broken-base",
            )
