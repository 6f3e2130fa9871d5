"""Making adapters."""

from __future__ import annotations

from lftreg.training.loop import Event, Stepped, Validated
from lftreg.training.run import Plan, make_plan, run_plan, train
from lftreg.training.settings import Settings

__all__ = ["Event", "Plan", "Settings", "Stepped", "Validated", "make_plan", "run_plan", "train"]
