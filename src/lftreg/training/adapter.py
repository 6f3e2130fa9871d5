"""A fresh adapter on a base, about to be trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.models.load import Loaded
from lftreg.training.learner import checkpoint_gradients
from lftreg.training.plan import Plan


def attach_adapter(loaded: Loaded, plan: Plan) -> Any:
    """The base with fresh factors; only they require a gradient. The seed is set first."""
    import torch
    from peft import LoraConfig, get_peft_model

    settings = plan.settings
    torch.manual_seed(settings.seed)
    lora = LoraConfig(
        r=settings.rank,
        lora_alpha=_tidy(settings.alpha),
        lora_dropout=settings.dropout,
        target_modules=list(plan.targets),
        fan_in_fan_out=_has_conv1d(loaded.model, plan.targets),
        task_type=plan.task.peft,
        modules_to_save=list(loaded.fresh) or None,
    )
    model = get_peft_model(loaded.model, lora)
    if settings.gradient_checkpointing:
        checkpoint_gradients(model)
    return model


def _has_conv1d(model: Any, targets: Sequence[str]) -> bool:
    """GPT-2's layers hold their weight transposed; PEFT has to be told."""
    from transformers.pytorch_utils import Conv1D

    return any(
        isinstance(module, Conv1D) and any(name == t or name.endswith("." + t) for t in targets)
        for name, module in model.named_modules()
    )


def _tidy(alpha: float | None) -> float | int:
    assert alpha is not None
    return int(alpha) if alpha == int(alpha) else alpha
