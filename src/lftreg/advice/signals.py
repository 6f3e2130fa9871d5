"""The signals of a training run: series and facts, from whatever kept them.

A run of lftreg leaves them beside its version or in its folder; other trainers of the transformers family leave a
`trainer_state.json`. Both come to the same frozen record, and nothing that judges a run knows where it is from.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["running", "interrupted", "failed", "done"]
Trainer = Literal["lftreg", "transformers"]

TAIL = 0.1  # the share of a run whose mean is called its end
FEWEST = 3  # points, at least, that a mean is made of where there are so many


@dataclass(frozen=True, slots=True)
class Point:
    """One logged moment of training: the loss in nats, the learning rate, the gradient's norm before clipping.

    `right` is the share of tokens that are predicted, `entropy` the mean entropy in nats; None where unknown. `hidden`
    is a loss that was no number and that its trainer logged as 0.
    """

    step: int
    loss: float
    lr: float | None = None
    norm: float | None = None
    right: float | None = None
    entropy: float | None = None
    hidden: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One validation: figures as of a Point, on rows that are held out."""

    step: int
    loss: float
    right: float | None = None
    entropy: float | None = None


@dataclass(frozen=True, slots=True)
class Signals:
    """All that is known of a run.

    `planned` are the steps that it was to take; `settings` are those of `lftreg.training.Settings` as far as they
    are known, `facts` those of `lftreg.training.facts`. `error` is what ended it (code, message, hint); `shrunk`
    are the times at which memory ran out and fewer rows were tried. `retry` is the command that began it, word by
    word, empty where no command can.
    """

    run: str
    trainer: Trainer
    status: Status
    points: tuple[Point, ...] = ()
    checks: tuple[Check, ...] = ()
    planned: int | None = None
    passes: float | None = None
    ref: str | None = None
    seconds: float | None = None
    tokens: int | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    losses: Mapping[str, float] = field(default_factory=dict)
    error: Mapping[str, Any] | None = None
    shrunk: tuple[Mapping[str, Any], ...] = ()
    retry: tuple[str, ...] = ()

    @property
    def steps(self) -> int:
        """Optimizer steps that were taken."""
        return self.points[-1].step if self.points else 0

    @property
    def over(self) -> bool:
        """Whether it ended by itself, so that its end can be judged."""
        return self.status in ("done", "failed")

    @property
    def first(self) -> float:
        """The training loss at the start: of the first point alone, as the next ones have learned already."""
        return self.points[0].loss if self.points else math.nan

    @property
    def last(self) -> float:
        """The mean training loss of the last tenth."""
        return mean(self.tail)

    @property
    def tail(self) -> Sequence[float]:
        return [point.loss for point in self.points[-window(len(self.points)) :]]

    @property
    def before(self) -> float | None:
        """The validation loss before step 1, where that was measured."""
        return self.checks[0].loss if self.checks and self.checks[0].step == 0 else None

    @property
    def best(self) -> Check | None:
        return min(
            (c for c in self.checks if math.isfinite(c.loss)), key=lambda check: check.loss, default=None
        )

    @property
    def norms(self) -> list[float]:
        return [point.norm for point in self.points if point.norm is not None]

    @property
    def peak_rate(self) -> float | None:
        """The highest learning rate that was reached."""
        return max((point.lr for point in self.points if point.lr is not None), default=None)

    @property
    def drop(self) -> float:
        """How much of the loss went away: on validation where it was measured before step 1, else in training."""
        best = self.best
        if self.before and best is not None:
            return 1 - best.loss / self.before
        return 1 - self.last / self.first if self.first else math.nan

    def document(self) -> dict[str, Any]:
        """The figures that were looked at, for scripts; None where one is not known."""
        best = self.best
        end = self.checks[-1] if self.checks else None
        norms = [norm for norm in self.norms if math.isfinite(norm)]
        found = {
            "steps": self.steps,
            "planned": self.planned,
            "passes": self.passes,
            "train_first": self.first,
            "train_last": self.last,
            "validation_before": self.before,
            "validation_best": best.loss if best else None,
            "validation_last": end.loss if end else None,
            "right": _last([c.right for c in self.checks] or [p.right for p in self.points]),
            "entropy": _last([c.entropy for c in self.checks] or [p.entropy for p in self.points]),
            "norm_median": median(norms) if norms else None,
            "norm_max": max(norms, default=None),
            "lr": self.peak_rate,
            "tokens_per_second": self.tokens / self.seconds if self.tokens and self.seconds else None,
        }
        return {name: _finite(value) for name, value in found.items()} | {
            name: self.facts.get(name)
            for name in ("rows", "left_out", "ended", "repeated", "contradicted", "adapted")
        }


def window(points: int) -> int:
    """How many of so many points make the end of a run."""
    return max(min(FEWEST, points), round(TAIL * points))


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def median(values: Sequence[float]) -> float:
    if not values:
        return math.nan
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2


def _last(values: Sequence[float | None]) -> float | None:
    return next((value for value in reversed(values) if value is not None), None)


def _finite(value: float | None) -> float | str | None:
    """JSON knows no NaN: it is told by its name."""
    return value if value is None or math.isfinite(value) else str(value)
