"""The loss of a model on some rows, by the loop's own evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.objectives import Objective
from lftreg.objectives.rows import Row
from lftreg.training.learner import loss_of
from lftreg.training.processes import make_accelerator
from lftreg.training.settings import Settings


def evaluate(model: Any, objective: Objective, rows: Sequence[Row], batch_size: int) -> float:
    """Nats a learned token."""
    settings = Settings(batch_size=batch_size, lr=1e-3)
    loss = loss_of(model, objective, rows, settings, make_accelerator())
    assert loss is not None
    return loss
