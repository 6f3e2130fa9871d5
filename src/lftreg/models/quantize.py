"""Bases in four or eight bits, through bitsandbytes: on a GPU, and on a CPU too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import Unavailable, UsageError

if TYPE_CHECKING:
    import torch

KINDS = ("nf4", "int8")
BLOCK = 64  # values that share a scale in nf4; on a CPU a row must be made of whole blocks


def check_kind(kind: str | None) -> None:
    """Raises UsageError for what is neither None nor one of KINDS."""
    if kind is not None and kind not in KINDS:
        raise UsageError(f"unknown quantisation {kind!r}", f"one of {', '.join(KINDS)}")


def quantization(kind: str, device: torch.device, whole: Sequence[str] = ()) -> dict[str, Any]:
    """What `from_pretrained` is told so that a base is kept in `kind` on `device`, `whole` modules as they are.

    nf4 quantises its own constants too (double quantisation) and computes in bfloat16 on a GPU
    that does it well, in float32 elsewhere. Raises Unavailable where bitsandbytes is not there.
    """
    import torch

    check_kind(kind)
    try:
        import bitsandbytes  # noqa: F401 transformers would fail late, and in other words
    except ImportError as error:
        raise Unavailable(
            f"--quantize {kind} needs bitsandbytes, which does not load here: {error}",
            "pip install bitsandbytes, or leave --quantize out",
            code="no-bitsandbytes",
        ) from error
    from transformers import BitsAndBytesConfig

    if kind == "int8":
        config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=list(whole) or None)
    else:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported()
        config = BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=torch.bfloat16 if fast else torch.float32,
            llm_int8_skip_modules=list(whole) or None,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def check_layers(kind: str | None, model: Any) -> None:
    """Raises Unavailable for layers that bitsandbytes quantises and then cannot compute with."""
    if kind != "nf4" or model.device.type != "cpu":
        return
    for name, module in model.named_modules():
        if type(module).__name__ == "Linear4bit" and module.in_features % BLOCK:
            raise Unavailable(
                f"nf4 on a CPU needs layers of {BLOCK}, {2 * BLOCK}, ... inputs, and {name} has {module.in_features}",
                "--quantize int8, or a GPU",
                code="nf4-shape",
            )


def keep_differentiable(model: Any) -> None:
    """Keep bitsandbytes from repacking four-bit weights on a CPU.

    In evaluation it packs them for a product that no gradient passes, and leaves them so: a validation before
    step 1 would cut every layer below the last off from learning, without a word.
    """
    for module in model.modules():
        if type(module).__name__ == "Linear4bit":
            module.support_avx512bf16_for_cpu = False
