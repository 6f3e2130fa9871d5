"""Which trials go on: successive halving (Jamieson and Talwalkar 2016), over all cohorts of a study.

At an eighth, a quarter and a half of its own steps a trial is compared with all that have come so far, in this cohort,
in those before it and on other machines; the better half goes on. The learning rate's schedule is that of
the whole run throughout, so a trial that goes on is the very run that `lftreg train` makes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lftreg.training.loop import validation_interval

RUNGS = (12, 25, 50)  # per cent of a trial's steps
FINALISTS = 3  # the fewest that go on: so many are confirmed


def rungs(steps: int, steps_a_pass: int) -> dict[int, int]:
    """By per cents, the step whose validation decides; a run that validates seldom has fewer of them."""
    every = validation_interval(steps, steps_a_pass)
    at = {every * math.ceil(steps * percent / 100 / every): percent for percent in RUNGS}
    return {percent: step for step, percent in at.items() if step < steps}


def going_on(losses: Mapping[int, float], others: Sequence[float]) -> set[int]:
    """Which trials are in the better half of all that came to a rung: those asked about, by number, and `others`."""
    finite = {number: loss for number, loss in losses.items() if math.isfinite(loss)}
    ranked = sorted([(loss, number) for number, loss in finite.items()] + [(loss, -1) for loss in others])
    keep = max(FINALISTS, math.ceil((len(losses) + len(others)) / 2))
    return {number for _, number in ranked[:keep] if number >= 0}
