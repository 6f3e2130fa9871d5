"""Whether compiling pays: it takes its time before the first step, and each step is then faster."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.models.compiled import can_compile
from lftreg.training.plan import Plan

# Measured on one H200 with bases of 1 and 8 billion parameters: see benchmarks/single.py.
TAKES = 45.0  # seconds, where nothing is cached yet
LAUNCHES = 0.002  # seconds a layer that a step saves at least: its many small launches
SHARE = 0.15  # of a step's time that is saved where the GPU is busy
SPEED = 3e14  # FLOPs a second


def worth_compiling(plans: Sequence[Plan], device: Any) -> bool:
    """Whether the steps of plans that train together are enough. What is quantised is not compiled."""
    if any(plan.settings.quantize for plan in plans):
        return False
    return _saved(plans) > TAKES and can_compile(device)


def _saved(plans: Sequence[Plan]) -> float:
    """Seconds that compiling saves of all steps."""
    return sum(_saved_by_step(plan) * (plan.settings.max_steps or 0) for plan in plans) / len(plans)


def _saved_by_step(plan: Plan) -> float:
    rows, settings = plan.rows["train"], plan.settings
    parameters = plan.base.record.parameters or 0
    layers = int(plan.base.config.get("num_hidden_layers") or 0)
    tokens = rows.tokens / max(1, len(rows)) * settings.batch_size
    return settings.accumulate * max(LAUNCHES * layers, SHARE * 4 * parameters * tokens / SPEED)
