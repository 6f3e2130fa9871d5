"""What a run tells whoever listens."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Stepped:
    """After an optimizer step; `loss` in nats a learned token, `tokens` and `seconds` so far.

    `memory` is the most that was in use at once so far, in bytes: of the GPU where there is one, else of
    the process. `norm` is the gradient's, in all parameters together, before it is clipped; None in what an
    older lftreg wrote.
    """

    step: int
    steps: int
    loss: float
    lr: float
    tokens: int
    seconds: float
    memory: int = 0
    norm: float | None = None


@dataclass(frozen=True, slots=True)
class Validated:
    """After a validation; `best` says whether it is the lowest so far. `accuracy` is a classifier's.

    `right` is the share of learned tokens that the adapter puts first, given all that stands before them, and
    `entropy` how undecided it is there, in nats, as a mean; None where rows are not learned token by token.
    """

    step: int
    loss: float
    best: bool
    accuracy: float | None = None
    right: float | None = None
    entropy: float | None = None


@dataclass(frozen=True, slots=True)
class Shrunk:
    """Memory ran out, and the step is tried again: `rows` go through the base at once from here on."""

    step: int
    rows: int
    checkpointing: bool


@dataclass(frozen=True, slots=True)
class Saved:
    """A checkpoint is on the disk: so many steps are safe."""

    step: int


@dataclass(frozen=True, slots=True)
class Resumed:
    """A run goes on where its checkpoint was made. `fallback` tells that the newest one was damaged."""

    step: int
    fallback: bool = False


@dataclass(frozen=True, slots=True)
class Stopping:
    """Somebody wishes that the run ends: it does so after this step. Told from within a signal's handler.

    `again` says whether a second signal ends it at once.
    """

    signal: int
    again: bool = True


@dataclass(frozen=True, slots=True)
class Compiling:
    """The base's layers are compiled at the first step, which takes so much longer."""


@dataclass(frozen=True, slots=True)
class Warned:
    """Something beside the run went wrong, which does not end it."""

    text: str


Event = Stepped | Validated | Shrunk | Saved | Resumed | Stopping | Compiling | Warned
Listener = Callable[[Event], None]
