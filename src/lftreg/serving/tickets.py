"""What is asked of an engine, what it tells of the answer, and how it is called off."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from lftreg.errors import LftregError
from lftreg.serving.sampling import Chosen, Sampling
from lftreg.serving.voices import Voice

Reason = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Asked:
    """A prompt as token ids, who is to answer, and how."""

    voice: Voice
    ids: Sequence[int]
    sampling: Sampling = field(default_factory=Sampling)


@dataclass(frozen=True, slots=True)
class Said:
    """One token more: its text, "" while a character or a stop text may be unfinished."""

    text: str
    token: Chosen


@dataclass(frozen=True, slots=True)
class Ended:
    """The answer is whole. `text` is what was held back; `cached` counts prompt tokens that had been read before."""

    text: str
    reason: Reason
    tokens: int
    cached: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """There will be no answer."""

    error: LftregError


Event = Said | Ended | Failed


class Ticket:
    """An answer in the making. `listen` is called with every event, on the engine's thread, and has to be quick."""

    def __init__(self, asked: Asked, listen: Callable[[Event], None]) -> None:
        self.asked, self.listen = asked, listen
        self.cancelled = False
        self.at = time.monotonic()
        self.began: float | None = None  # when it left the queue

    def begin(self) -> None:
        """It has left the queue."""
        self.began = time.monotonic()

    def tell(self, event: Event) -> None:
        """On the engine's thread. A listener that is gone is no trouble of the others."""
        try:
            self.listen(event)
        except Exception:  # noqa: BLE001 whatever it was
            self.cancel()

    def cancel(self) -> None:
        """Call it off; its place is free with the next step. Nothing happens to one that has ended."""
        self.cancelled = True


def told(error: Exception) -> LftregError:
    """What whoever asked is told of an error."""
    if isinstance(error, LftregError):
        return error
    return LftregError(
        f"the model failed: {type(error).__name__}", "the server's log tells more", code="failed-pass"
    )


def is_lost(error: Exception) -> bool:
    """Whether no pass will ever work again: after a fault of a kernel a process has to leave the GPU."""
    import torch

    return isinstance(error, torch.AcceleratorError)
