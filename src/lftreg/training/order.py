"""Which rows make a step: an order that follows from the seed alone, so that any step can be had at once."""

from __future__ import annotations

from collections.abc import Sequence

from lftreg.objectives import Objective
from lftreg.objectives.rows import Row, batches
from lftreg.training.settings import Settings


class Order:
    """Groups of batches, one a step, pass after pass over the rows."""

    def __init__(self, rows: Sequence[Row], objective: Objective, settings: Settings) -> None:
        self._rows = rows
        self._objective = objective
        self._settings = settings
        self._pass = -1
        self._batches: list[list[Row]] = []

    @property
    def steps_a_pass(self) -> int:
        return self._settings.steps_a_pass(len(self._rows))

    def group(self, step: int) -> list[list[Row]]:
        """The batches of a step, counted from 0."""
        epoch, place = divmod(step, self.steps_a_pass)
        size = self._settings.accumulate
        if epoch != self._pass:
            seed = self._settings.seed + epoch
            passing = self._objective.each_pass(self._rows, seed)
            self._batches = list(batches(passing, self._settings.batch_size, seed))
            self._pass = epoch
        return self._batches[place * size : (place + 1) * size]
