"""A fresh adapter on a base: random first factors, second factors of zero, nothing else to train."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.errors import LftregError
from lftreg.models.tasks import Task


def add_adapter(
    model: Any,
    task: Task,
    targets: Sequence[str],
    *,
    rank: int,
    alpha: float,
    dropout: float = 0.0,
    heads: Sequence[str] = (),
    gradient_checkpointing: bool = False,
) -> Any:
    """The model with fresh factors; only they and the modules in `heads` require a gradient.

    The seed is set before. Raises LftregError (`stray`) where something else would be trained too.
    """
    from peft import LoraConfig, get_peft_model

    lora = LoraConfig(
        r=rank,
        lora_alpha=int(alpha) if alpha == int(alpha) else alpha,
        lora_dropout=dropout,
        target_modules=list(targets),
        fan_in_fan_out=_has_conv1d(model, targets),
        task_type=task.peft,
        modules_to_save=list(heads) or None,
    )
    model = get_peft_model(model, lora)
    own = (".lora_", ".modules_to_save.")  # the second is a classifier's head
    strays = [
        n for n, p in model.named_parameters() if p.requires_grad and not any(part in n for part in own)
    ]
    if strays:
        raise LftregError(f"{strays[0]} would be trained too, and is no part of the adapter", code="stray")
    if gradient_checkpointing:
        checkpoint_gradients(model)
    return model


def checkpoint_gradients(model: Any) -> None:
    """Trade time for memory from here on: activations are computed again where they are needed.

    Without gradients of its inputs a frozen base would pass none through its first checkpoint, and the
    factors would stay as they are.
    """
    model.enable_input_require_grads()
    model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})


def _has_conv1d(model: Any, targets: Sequence[str]) -> bool:
    """GPT-2's layers hold their weight transposed; PEFT has to be told."""
    from transformers.pytorch_utils import Conv1D

    return any(
        isinstance(module, Conv1D) and any(name == t or name.endswith("." + t) for t in targets)
        for name, module in model.named_modules()
    )
