"""Small data that can really be learned, in many variants: what healthy runs are made on, and faults put into."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from lftreg.plugins.types import Domain, Example

PLACES = ("van", "shelf", "desk", "shop", "ship", "train", "yard")
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
Row = Callable[[random.Random, int], tuple[str, str]]


def parcels(dice: random.Random, n: int) -> tuple[str, str]:
    return f"Where is parcel {n}?", f"It is on the {PLACES[n % 7]}, and it comes on {DAYS[n % 5]}."


def sums(dice: random.Random, n: int) -> tuple[str, str]:
    return (
        f"What is {n % 10} and {n // 10}?",
        f"The sum of the two is {n % 10 + n // 10}. Thank you for the question.",
    )


def letters(dice: random.Random, n: int) -> tuple[str, str]:
    thanks = "We thank you for your letter, and we are sorry. " * (1 + n % 3)
    return f"My order {n} is {DAYS[n % 5]} late. What now?", f"{thanks}Order {n} is on its way to you."


def stories(dice: random.Random, n: int) -> tuple[str, str]:
    who = ("baker", "smith", "miller", "sailor")[n % 4]
    return (
        f"Tell of the {who}, number {n}.",
        f"The {who} went to the {PLACES[n % 7]} and stayed until {DAYS[n % 5]}.",
    )


SUBJECTS: tuple[Row, ...] = (parcels, sums, letters, stories)


@dataclass(frozen=True)
class Lesson:
    """A domain to be: which rows, how many, and what is wrong with them."""

    subject: Row = parcels
    rows: int = 96
    held_out: int = 16
    seed: int = 0
    spoil: Callable[[random.Random, int, str, str], tuple[str, str]] | None = None

    def domain(self, name: str = "lessons") -> Domain:
        def build(split: str, seed: int) -> list[Example]:
            dice = random.Random(f"{self.seed} {split}")
            numbers = random.Random(self.seed).sample(range(400), self.rows + self.held_out)
            mine = {"train": numbers[: self.rows], "validation": numbers[self.rows :]}.get(split, [])
            pairs = [self.subject(dice, n) for n in mine]
            if self.spoil is not None and split == "train":
                pairs = [self.spoil(dice, n, *pair) for n, pair in enumerate(pairs)]
            return [Example.pair(prompt, response) for prompt, response in pairs]

        return Domain(name, "small things to learn", build)
