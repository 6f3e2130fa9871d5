"""One cohort: trials that train side by side from rung to rung, and leave where others are better."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

from lftreg.budget.memory import usable
from lftreg.errors import Interrupted, LftregError
from lftreg.sweeping import events
from lftreg.sweeping.bench import Bench, Seat, Table
from lftreg.sweeping.halving import RUNGS, going_on, rungs
from lftreg.sweeping.plans import Plans
from lftreg.sweeping.study import Study
from lftreg.training import Plan
from lftreg.training.forecast import foresee
from lftreg.training.grouping import shared_base


def room_for(plan: Plan, most: int) -> int:
    """How many trials this machine's memory has room for at once: at least one, at most so many."""
    if shared_base(plan) is None:
        return 1
    forecast = foresee(plan)
    if forecast.memory is None or forecast.device is None or forecast.device.memory is None:
        return most
    one = forecast.memory.peak - forecast.memory.base
    return max(1, min(most, (usable(forecast.device.memory) - forecast.memory.base) // max(1, one)))


class Trials:
    """The trials of a cohort, on a bench."""

    def __init__(self, study: Study, plans: Plans, bench: Bench, listen: events.Listener, whole: int) -> None:
        self._study, self._plans, self._bench = study, plans, bench
        self._listen, self._whole = listen, whole

    def run(self, settings: Mapping[int, Mapping[str, Any]]) -> None:
        """Train them to their ends, and tell the study of each. Raises Interrupted."""
        planned: dict[int, Plan] = {}
        for number, tried in settings.items():
            try:
                planned[number] = self._plans.of(tried)
            except LftregError as error:  # such as a target that this base does not have
                self._study.prune(number, error.message)
                self._tell_ended(number)
        for group in _groups(planned):
            self._listen(events.Cohort(len(group)))
            with self._bench.together(list(group.values())) as table:
                self._train(table, dict(zip(group, table.seats, strict=True)))

    def _train(self, table: Table, seats: dict[int, Seat]) -> None:
        for percent in RUNGS:
            climbing = {
                number: at for number, seat in seats.items() if (at := _rung(seat, percent)) is not None
            }
            self._go(table, seats, climbing)
            came = {number: seats[number].compared for number in climbing if number in seats}
            if not came:
                continue
            others = self._study.at(percent, tuple(came))
            for number, loss in came.items():
                self._study.report(number, percent, loss)
            kept = going_on(came, others)
            self._listen(events.Halved(percent, len(came), len(kept)))
            for number in sorted(came.keys() - kept):
                del seats[number]
                self._study.prune(number, f"others were better at {percent} % of the steps")
                self._tell_ended(number)
        self._go(table, seats, dict.fromkeys(seats))

    def _go(self, table: Table, seats: dict[int, Seat], to: Mapping[int, int | None]) -> None:
        """Take trials to their steps, or to their ends; those that have ended leave `seats`."""
        if not to:
            return
        numbers = {id(seats[number]): number for number in to}
        stopped: Interrupted | None = None
        for seat, end in table.run(
            [(seats[number], seats[number].until(step)) for number, step in to.items()]
        ):
            number = numbers[id(seat)]
            if isinstance(end, Interrupted):
                stopped = end
            elif isinstance(end, LftregError):
                del seats[number]
                self._study.prune(number, end.message)
                self._tell_ended(number)
            elif seat.fitted is not None:
                del seats[number]
                self._end(number, seat, table.exact)
        if stopped is not None:
            raise stopped

    def _end(self, number: int, seat: Seat, exact: bool) -> None:
        assert seat.fitted is not None and seat.plan.settings.max_steps is not None
        if math.isfinite(seat.loss) and seat.improved:
            percent = round(100 * seat.fitted.steps[-1].step / seat.plan.settings.max_steps)
            self._study.finish(number, seat.loss, percent)
            if exact:
                self._bench.keep(number, seat)
        else:
            self._study.prune(number, "validation loss never fell below the base's")
        self._tell_ended(number)

    def _tell_ended(self, number: int) -> None:
        rows = self._study.rows
        ended = sum(row.end != "running" for row in rows)
        row = next(row for row in rows if row.number == number)
        self._listen(events.Ended(row, ended, max(self._whole, len(rows))))


def _rung(seat: Seat, percent: int) -> int | None:
    """The step at which a trial is compared, of a run that is long enough."""
    steps = seat.plan.settings.max_steps
    assert steps is not None
    return rungs(steps).get(percent)


def _groups(planned: Mapping[int, Plan]) -> Iterator[dict[int, Plan]]:
    """Trials that share a base, and each of the others by itself."""
    side = {number: plan for number, plan in planned.items() if shared_base(plan) is not None}
    if side:
        yield side
    for number, plan in planned.items():
        if number not in side:
            yield {number: plan}
