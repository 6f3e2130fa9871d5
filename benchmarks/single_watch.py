"""What a contestant of benchmarks/single.py is asked, the rows that it is given, and how it is watched."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import Any

from training_bases import SHAPES, SPECIAL, Ids, peak, synchronised

SHORTEST, LONGEST, MEAN = 24, 1024, 164  # tokens of a row


@dataclass(frozen=True)
class Asked:
    """What a contestant is asked to do. A step has about `lines` x `length` tokens where the tool can fill them."""

    shape: str = "1b"
    rank: int = 16
    lines: int = 8
    length: int = LONGEST
    rows: int = 4000  # of the data
    even: bool = False  # every row is as long as a line
    quantize: str | None = None
    seconds: float = 10.0  # measured
    warm_steps: int = 5  # before them, at least
    warm_seconds: float = 3.0

    @property
    def tokens_a_step(self) -> int:
        return self.lines * self.length


@dataclass
class Watch:
    """What a run did, step by step. Losses and counts stay where they are until the end: reading them takes time."""

    asked: Asked
    losses: list[Any] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    warm: int | None = None  # steps before the measured ones

    def step(self, loss: Any, tokens: Any) -> None:
        self.losses.append(loss)
        self.tokens.append(tokens)

    def ended(self) -> bool:
        """Called when a step has been taken: whether that is enough."""
        now = time.perf_counter()
        asked = self.asked
        # A tool that takes a step in several parts divides the loss of each.
        while len(self.times) + 1 < len(self.losses):
            self.losses[-2:] = [self.losses[-2] + self.losses[-1]]
            self.tokens[-2:] = [self.tokens[-2] + self.tokens[-1]]
        if self.warm is None:
            if len(self.losses) >= asked.warm_steps and now - self.started >= asked.warm_seconds:
                self.warm, now = len(self.losses), synchronised()
            self.times.append(now)
            return False
        self.times.append(now)
        done = now - self.times[self.warm - 1] >= asked.seconds
        if done:
            self.times[-1] = synchronised()
        return done and len(self.losses) > self.warm

    def told(self) -> dict[str, Any]:
        if self.warm is None or len(self.times) <= self.warm:
            raise RuntimeError(f"the run ended after {len(self.losses)} steps, before it was warm")
        counts = [int(count) for count in self.tokens]
        seconds = self.times[-1] - self.times[self.warm - 1]
        measured = counts[self.warm : len(self.times)]
        spans = [b - a for a, b in zip(self.times[self.warm - 1 :], self.times[self.warm :], strict=False)]
        return {
            "tokens_a_second": sum(measured) / seconds,
            "tokens_a_step": sum(measured) / len(measured),
            "steps": len(measured),
            "seconds": seconds,
            "slowest_step": max(spans),
            "median_step": sorted(spans)[len(spans) // 2],
            "first_step_seconds": self.times[0] - self.started,
            "peak_gib": peak(),
            "losses": [[float(loss), count] for loss, count in zip(self.losses[:400], counts, strict=False)],
        }


def rows_of(asked: Asked) -> list[Ids]:
    """Rows of random ids, SHORTEST to LONGEST tokens long and MEAN on average, or each as long as a line."""
    dice = random.Random(0)
    words = range(SPECIAL, SHAPES[asked.shape][5])
    longest = min(LONGEST, asked.length)
    rows = []
    for _ in range(asked.rows):
        drawn = SHORTEST + int(dice.expovariate(1 / (MEAN - SHORTEST)))
        rows.append(tuple(dice.choices(words, k=asked.length if asked.even else min(drawn, longest))))
    return rows
