"""Which trials go on: successive halving (Jamieson and Talwalkar 2016), over all cohorts of a study.

At an eighth, a quarter and a half of its own steps a trial is compared with all that have come so far, in this cohort,
in those before it and on other machines; the better half goes on. The learning rate's schedule is that of
the whole run throughout, so a trial that goes on is the very run that `lftreg train` makes: it is judged at these steps
beside that run, which does not know of it.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

from lftreg.objectives.rows import Row

RUNGS = (12, 25, 50)  # per cent of a trial's steps
EARLIEST = 10  # steps: within the warm-up of a short run a loss says little
FINALISTS = 3  # the fewest that go on: so many are confirmed
# Validation rows on which trials are compared: see benchmarks/rungs.py. A hundred cost as much as six steps of eight.
JUDGED = 32


def rungs(steps: int) -> dict[int, int]:
    """By per cents, the step that decides; a short run has fewer of them."""
    at = {percent: math.ceil(steps * percent / 100) for percent in RUNGS}
    return {percent: step for percent, step in at.items() if EARLIEST <= step < steps}


def some_of(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows on which trials are compared, in their order: drawn by their numbers, so that a trial that leaves longer
    ones out has the others in common with the rest."""
    drawn = sorted(range(len(rows)), key=lambda at: (random.Random(rows[at].number).random(), at))
    return [rows[at] for at in sorted(drawn[:JUDGED])]


def comparison() -> dict[str, Any]:
    """What losses at a rung have in common: those of other rungs, or on other rows, say nothing about them."""
    return {"rungs": list(RUNGS), "earliest": EARLIEST, "rows": JUDGED}


def going_on(losses: Mapping[int, float], others: Sequence[float]) -> set[int]:
    """Which trials are in the better half of all that came to a rung: those asked about, by number, and `others`."""
    finite = {number: loss for number, loss in losses.items() if math.isfinite(loss)}
    ranked = sorted([(loss, number) for number, loss in finite.items()] + [(loss, -1) for loss in others])
    keep = max(FINALISTS, math.ceil((len(losses) + len(others)) / 2))
    return {number for _, number in ranked[:keep] if number >= 0}
