"""Which of two hidden answers a person takes, and what the choices add up to."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from lftreg.evaluation.evaluate import Asked
from lftreg.evaluation.extras import extra
from lftreg.evaluation.hearing import Side
from lftreg.evaluation.suite import Suite
from lftreg.registry import Preference, Registry
from lftreg.registry.records import Choice


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to one item, in the order in which they are shown. `first_is_it` is what stays hidden."""

    item: int
    prompt: str
    answers: tuple[str, str]
    first_is_it: bool

    def choice(self, place: int | None) -> Choice:
        """Whose answer was taken: that at a place, 0 or 1, or neither."""
        if place is None:
            return "tie"
        return "it" if (place == 0) == self.first_is_it else "other"


@dataclass(frozen=True, slots=True)
class Tally:
    """Choices counted. `share` is that of `it` among those that were no tie, with its 95% interval (Wilson 1927).

    `p` is that of a coin that knows no difference (exact binomial, two-sided).
    """

    it: int
    other: int
    ties: int
    share: float | None
    ci95: tuple[float, float] | None
    p: float | None


def pairs(
    suite: Suite, it: Sequence[str], other: Sequence[str], done: frozenset[int], dice: random.Random
) -> list[Pair]:
    """What is left to be judged, in random order, sides drawn anew for each. Equal answers ask nothing."""
    left = [n for n in range(len(suite.items)) if n not in done and it[n].strip() != other[n].strip()]
    dice.shuffle(left)
    made = []
    for n in left:
        first = dice.random() < 0.5
        shown = (it[n], other[n]) if first else (other[n], it[n])
        made.append(Pair(n, suite.items[n].prompt, shown, first))
    return made


def made_before(registry: Registry, it: Side, other: Side, suite: Suite, asked: Asked) -> list[Preference]:
    """What was chosen between these two on this suite, with this decoding; the last word on an item counts."""
    found = {
        one.item: one
        for one in registry.scores.preferences(it.digest, other.digest)
        if (one.suite_digest, one.decoding_digest) == (suite.digest, asked.digest)
    }
    return list(found.values())


def keep(
    registry: Registry, it: Side, other: Side, suite: Suite, asked: Asked, item: int, choice: Choice
) -> Preference:
    """Store one choice."""
    made = Preference(
        it.digest, it.ref, other.digest, other.ref, suite.name, suite.digest, asked.digest, item, choice,
        datetime.now(UTC),
    )  # fmt: skip
    registry.scores.prefer(made)
    return made


def tally(choices: Sequence[Choice]) -> Tally:
    """What choices add up to."""
    it, other = choices.count("it"), choices.count("other")
    if not it + other:
        return Tally(it, other, len(choices), None, None, None)
    found = extra("scipy.stats").binomtest(it, it + other)
    interval = found.proportion_ci(0.95, method="wilson")
    ends = (float(interval.low), float(interval.high))
    return Tally(it, other, choices.count("tie"), it / (it + other), ends, float(found.pvalue))
