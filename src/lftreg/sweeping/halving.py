"""Which trials go on: successive halving (Jamieson and Talwalkar 2016), over all cohorts of a study.

At an eighth, a quarter and a half of its own steps a trial is compared with all that have come so far, in this cohort,
in those before it and on other machines; the better half goes on. The learning rate's schedule is that of
the whole run throughout, so a trial that goes on is the very run that `lftreg train` makes: it is judged at these steps
beside that run, which does not know of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lftreg.objectives.rows import Row

RUNGS = (12, 25, 50)  # per cent of a trial's steps
EARLIEST = 10  # steps, before which a loss says little
FINALISTS = 3  # the fewest that go on: so many are confirmed
JUDGED = 32  # validation rows, the same for all trials


def rungs(steps: int) -> dict[int, int]:
    """By per cents, the step that decides; a short run has fewer of them."""
    at = {max(EARLIEST, math.ceil(steps * percent / 100)): percent for percent in RUNGS}
    return {percent: step for step, percent in at.items() if step < steps}


def some_of(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows on which trials are compared, from all over the split."""
    count = min(JUDGED, len(rows))
    return [rows[at * len(rows) // count] for at in range(count)]


def going_on(losses: Mapping[int, float], others: Sequence[float]) -> set[int]:
    """Which trials are in the better half of all that came to a rung: those asked about, by number, and `others`."""
    finite = {number: loss for number, loss in losses.items() if math.isfinite(loss)}
    ranked = sorted([(loss, number) for number, loss in finite.items()] + [(loss, -1) for loss in others])
    keep = max(FINALISTS, math.ceil((len(losses) + len(others)) / 2))
    return {number for _, number in ranked[:keep] if number >= 0}
