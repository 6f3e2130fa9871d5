"""Rows of train that stand, word for word, in rows that are held out: what a test then measures is memory.

Two rows overlap where they share thirteen words in a row (as in GPT-3's contamination study, Brown et al. 2020,
arXiv 2005.14165), case and punctuation aside; rows shorter than that, where they are equal as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lftreg.plugins.types import Example, Split

WORDS = 13
_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Overlap:
    """How many held-out rows overlap with train, of how many; `worst` is the pair that shares most of its grams."""

    rows: int
    of: int
    worst: Pair | None = None

    @property
    def share(self) -> float:
        return self.rows / self.of if self.of else 0.0


@dataclass(frozen=True, slots=True)
class Pair:
    """A row of train, and one that is held out; `shared` is the part of the latter that the former holds."""

    train: Example
    held_out: Example
    split: Split
    shared: float


def find_overlap(examples: Mapping[Split, Sequence[Example]]) -> Overlap:
    """Which held-out rows train holds. Every row is looked at."""
    held_out: list[tuple[Split, Example]] = [
        (split, example) for split in ("validation", "test") for example in examples.get(split, ())
    ]
    owners: dict[int, list[int]] = {}
    counts = []
    for number, (_, example) in enumerate(held_out):
        grams = set(grams_of(example))
        counts.append(len(grams))
        for gram in grams:
            owners.setdefault(gram, []).append(number)
    found: set[int] = set()
    worst: tuple[float, int, Example] | None = None
    known = owners.keys()
    for example in examples["train"]:
        if known.isdisjoint(grams_of(example)):  # as nearly every row is
            continue
        shared = known & set(grams_of(example))
        by_row: dict[int, int] = {}
        for gram in shared:
            for number in owners[gram]:
                by_row[number] = by_row.get(number, 0) + 1
        found |= by_row.keys()
        number = max(by_row, key=lambda n: (by_row[n] / counts[n], -n))
        if worst is None or by_row[number] / counts[number] > worst[0]:
            worst = by_row[number] / counts[number], number, example
    if worst is None:
        return Overlap(0, len(held_out))
    share, number, example = worst
    split, other = held_out[number]
    return Overlap(len(found), len(held_out), Pair(example, other, split, share))


def grams_of(example: Example) -> Iterator[int]:
    """Hashes of every run of WORDS words in a row, or of the row as a whole if it is shorter."""
    return grams_in(example.text or "\n".join(message.content for message in example.messages))


def grams_in(text: str) -> Iterator[int]:
    """The same of any text."""
    words = _WORD.findall(text.lower())
    if len(words) < WORDS:
        return iter([hash(tuple(words))])
    return map(hash, zip(*(words[at:] for at in range(WORDS)), strict=False))
