"""What a sweep tells whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from lftreg.sweeping.study import Row
from lftreg.training import Plan
from lftreg.training.events import Warned as Warned


@dataclass(frozen=True, slots=True)
class Planned:
    """Data and base are read; `plan` is that of the usual settings."""

    plan: Plan


@dataclass(frozen=True, slots=True)
class Began:
    """Work at a study begins: `done` of `trials` are there already, `again` were another process's that was killed."""

    study: str
    done: int
    trials: int
    again: int


@dataclass(frozen=True, slots=True)
class Cohort:
    """So many trials train side by side from now on."""

    size: int


@dataclass(frozen=True, slots=True)
class Stepped:
    """One of the trials under way, or a finalist, took a step."""


@dataclass(frozen=True, slots=True)
class Halved:
    """At so many per cent of their steps, `kept` of `came` trials go on."""

    percent: int
    came: int
    kept: int


@dataclass(frozen=True, slots=True)
class Ended:
    """A trial has ended; `done` of `trials` have."""

    row: Row
    done: int
    trials: int


@dataclass(frozen=True, slots=True)
class Confirming:
    """A finalist is judged on the test split; where it is not at hand it trains first, alone."""

    number: int
    place: int
    finalists: int


@dataclass(frozen=True, slots=True)
class Tested:
    """A finalist was judged on the test split; `test` is None where it came to nothing, `why` says why."""

    number: int
    test: float | None
    why: str | None = None


@dataclass(frozen=True, slots=True)
class Waiting:
    """Other processes are still at work at so many trials, or at the confirmation."""

    others: int


@dataclass(frozen=True, slots=True)
class OutOfTime:
    """The budget is spent: no more trials begin."""

    done: int
    trials: int


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody wishes that the sweep ends: it does so after this step."""


Event = (
    Planned
    | Began
    | Cohort
    | Stepped
    | Halved
    | Ended
    | Confirming
    | Tested
    | Waiting
    | OutOfTime
    | Warned
    | Stopping
)
Listener = Callable[[Event], None]
