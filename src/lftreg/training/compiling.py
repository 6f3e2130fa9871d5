"""Whether compiling pays: it takes its time before the first step, and each step is then faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.models.compiled import can_compile
from lftreg.models.targets import adapted_by
from lftreg.training.plan import Plan

# Measured on one H200 with bases of 1 and 8 billion parameters (benchmarks/single.py): 15 to 23 s before the first
# step; then 66 ms instead of 114 ms a step of 2,000 tokens, where launches are waited for, and 108 instead of 166 ms a
# step of 8,000, where it is arithmetic.
TAKES = 25.0  # seconds, where nothing is cached yet
LAUNCHES = 0.048 / (16 * 7)  # seconds that a step saves at least, for each product that is adapted
SHARE = 0.3  # of the arithmetic's time that is saved
SPEED = 3.5e14  # FLOPs a second


def worth_compiling(plans: Sequence[Plan], device: Any) -> bool:
    """Whether the steps of plans that train together are enough, and there is a compiler."""
    return would_compile(plans) and can_compile(device)


def would_compile(plans: Sequence[Plan]) -> bool:
    """The same for a GPU that is not here. What is quantised is not compiled."""
    if any(plan.settings.quantize for plan in plans):
        return False
    return saved(plans) > TAKES


def saved(plans: Sequence[Plan]) -> float:
    """Seconds that compiling saves of all steps of plans whose rows go through the base in the same passes."""
    launches = max(_passes(plan) * LAUNCHES * len(adapted_by(plan.targets, plan.modules)) for plan in plans)
    return max(launches, sum(_passes(plan) * _arithmetic(plan) for plan in plans))


def _passes(plan: Plan) -> int:
    return (plan.settings.max_steps or 0) * plan.settings.accumulate


def _arithmetic(plan: Plan) -> float:
    rows = plan.rows["train"]
    tokens = plan.settings.batch_size * rows.tokens / max(1, len(rows))
    return SHARE * 4 * (plan.base.record.parameters or 0) * tokens / SPEED
