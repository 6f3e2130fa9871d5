"""Making adapters."""

from __future__ import annotations

from lftreg.training.events import (
    Compiling,
    Event,
    Resumed,
    Saved,
    Shrunk,
    Stepped,
    Stopping,
    Validated,
    Warned,
)
from lftreg.training.plan import Plan, make_plan
from lftreg.training.run import Wanted, run_plan, run_plans, train
from lftreg.training.runs import RunFolder, Runs
from lftreg.training.settings import Settings

__all__ = [
    "Compiling",
    "Event",
    "Plan",
    "Resumed",
    "RunFolder",
    "Runs",
    "Saved",
    "Settings",
    "Shrunk",
    "Stepped",
    "Stopping",
    "Validated",
    "Wanted",
    "Warned",
    "make_plan",
    "run_plan",
    "run_plans",
    "train",
]
