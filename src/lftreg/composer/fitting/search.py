"""Looking for the weights of stacked adapters by gradient: a handful of numbers, so a handful of steps."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lftreg.composer.fitting.mixture import Mixture
from lftreg.composer.listening import Listener, silent
from lftreg.errors import LftregError
from lftreg.objectives import Objective
from lftreg.objectives.rows import Row, batches

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

BATCH = 16  # rows a step
LR = 0.1  # Adam moves a weight by about this much a step, and less and less: 40 steps go 2 far
VALIDATIONS = 8  # a run


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """The best weights (blocks, adapters) by validation loss, in nats a token, and how they were come by.

    `start` is what the steps went on from: `equal`, the number of an adapter, `all` or `base`; `best_step` is 0
    where none of them improved on it.
    """

    weights: Tensor
    start: str
    start_loss: float
    loss: float
    best_step: int
    forwards: int = 0


class Trial:
    """A model with stacked adapters on it; counts forward passes."""

    def __init__(self, model: Any, objective: Objective, stack: Mixture) -> None:
        self.model = model
        self.objective = objective
        self.stack = stack
        self.forwards = 0

    def loss(self, weights: Tensor, rows: Sequence[Row]) -> float:
        """Mean loss of some rows with weights that broadcast to (blocks, adapters). No gradient."""
        import torch

        total = 0.0
        with torch.inference_mode(), self._at(weights):
            for batch in _alike(rows):
                self.forwards += 1
                total += float(self.objective.loss_sum(self.model, batch))
        return total / sum(row.learned for row in rows)

    def losses(self, weights: Tensor, rows: Sequence[Row]) -> NDArray[np.float64]:
        """The loss of every row, (rows,), in nats."""
        import numpy as np
        import torch

        order = sorted(range(len(rows)), key=lambda n: rows[n].length)
        made: list[float] = []
        with torch.inference_mode(), self._at(weights):
            for batch in _alike(rows):
                self.forwards += 1
                made += self.objective.losses(self.model, batch).tolist()
        by_row = np.empty(len(rows))
        by_row[order] = made
        return by_row

    def step(self, weights: Tensor, rows: Sequence[Row]) -> float:
        """Give `weights` the gradient of the mean loss of some rows; returns that loss."""
        with self._at(weights):
            self.forwards += 1
            loss = self.objective.loss_sum(self.model, rows) / sum(row.learned for row in rows)
            loss.backward()  # type: ignore[no-untyped-call]
        return float(loss.detach())

    def _at(self, weights: Tensor) -> Any:
        self.stack.weights = weights.expand(len(self.stack.blocks), self.stack.adapters)
        return self.stack.attached()


def starts(adapters: int, device: Any) -> list[tuple[str, Tensor]]:
    """Where a search may begin, each (1, adapters): equal shares, all at 1, each alone, none.

    Only one adapter may suit the data, or none: a search that began at equal shares would spend its steps
    on the way there. What is left never loses to any of these on the validation rows.
    """
    import torch

    each = torch.eye(adapters, device=device)
    ones = torch.ones(1, adapters, device=device)
    found = [("equal", ones / adapters), *((str(n), each[n : n + 1]) for n in range(adapters))]
    return [*found, *([("all", ones)] if adapters > 1 else []), ("base", 0 * ones)]


def search(
    trial: Trial,
    train: Sequence[Row],
    validation: Sequence[Row],
    *,
    rows: int,
    steps: int,
    seed: int,
    listen: Listener = silent,
) -> Found:
    """Adam (Kingma and Ba 2015, arXiv 1412.6980) on `rows` sets of weights: 1 for all blocks, or one a block.

    Raises LftregError (`not-finite`) where the loss is no number at every start, or stops being one.
    """
    import torch

    held_out = trial.objective.held_out(validation)
    tried = [
        (trial.loss(at, held_out), name, at) for name, at in starts(trial.stack.adapters, _device(trial))
    ]
    tried = [one for one in tried if math.isfinite(one[0])]
    if not tried:
        raise _not_finite("before the first step", "the base itself gives no number on these rows")
    start_loss, start, at = min(tried, key=lambda one: one[0])
    best = Found(at.expand(rows, -1).clone(), start, start_loss, start_loss, 0)

    weights = best.weights.clone().requires_grad_(True)
    # Few steps: a long memory of squared gradients would still be warming up at the end.
    adam = torch.optim.Adam([weights], lr=LR, betas=(0.9, 0.99))
    every = max(1, steps // VALIDATIONS)
    for number, batch in enumerate(_passes(trial.objective, train, seed, steps), start=1):
        adam.param_groups[0]["lr"] = LR * (1 - (number - 1) / steps)
        adam.zero_grad()
        loss = trial.step(weights, batch)
        if not math.isfinite(loss):
            raise _not_finite(f"at step {number}", "give other data, or leave out the adapter that overflows")
        adam.step()
        if number % every == 0 or number == steps:
            now = trial.loss(weights.detach(), held_out)
            listen(f"{now:.3f} nats", number)
            if now < best.loss:
                best = Found(weights.detach().clone(), start, start_loss, now, number)
    return replace(best, forwards=trial.forwards)


def _passes(objective: Objective, rows: Sequence[Row], seed: int, steps: int) -> Iterator[Sequence[Row]]:
    """So many batches, pass after pass."""
    made = 0
    for number in range(steps):
        for batch in batches(objective.each_pass(rows, seed + number), BATCH, seed + number):
            if made == steps:
                return
            made += 1
            yield batch


def some(items: Sequence[Any], most: int, seed: int) -> list[Any]:
    """At most so many, drawn by the seed, in their order."""
    if len(items) <= most:
        return list(items)
    return [items[at] for at in sorted(random.Random(seed).sample(range(len(items)), most))]


def _alike(rows: Sequence[Row]) -> Iterator[Sequence[Row]]:
    """Batches of rows of like length, shortest first: without a gradient twice as many fit."""
    ordered = sorted(rows, key=lambda row: row.length)
    for start in range(0, len(ordered), 2 * BATCH):
        yield ordered[start : start + 2 * BATCH]


def _device(trial: Trial) -> Any:
    return trial.stack.layers[0].a.device


def _not_finite(when: str, hint: str) -> LftregError:
    return LftregError(f"the loss is no number {when}", f"nothing was registered; {hint}", code="not-finite")
