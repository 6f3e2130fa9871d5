"""What rows are to a base: how many tokens they have, and what of them it sees and learns. No torch, no weights."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from lftreg.errors import InvalidData
from lftreg.models.tasks import CAUSAL, CLASSIFY, MASKED, SEQ2SEQ, Task
from lftreg.objectives import Objective, make_objective
from lftreg.objectives.rows import IGNORED, Row
from lftreg.plugins.types import SPLITS, Example, Split

SAMPLE = 1_000  # rows whose tokens are counted; of more a sample is taken
BARS = 8
WITHOUT_LIMIT = 10**9


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a row as text: learned or not, words or a special token."""

    text: str
    learned: bool
    special: bool = False


@dataclass(frozen=True, slots=True)
class Shown:
    """A row as the base sees it."""

    split: Split
    origin: str
    tokens: int
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """Tokens of `rows` rows out of `of`, in ascending order, and what stands out.

    `too_long` are rows over `limit`, which are left out (bare texts are cut instead); `one_token` have an answer of
    one token, `rewritten` are conversations whose answers are learned one by one.
    """

    rows: int
    of: int
    limit: int
    lengths: tuple[int, ...]
    too_long: int
    one_token: int
    rewritten: int
    shown: tuple[Shown, ...]

    def at(self, share: float) -> int:
        """The length that this share of the rows does not exceed."""
        return self.lengths[min(len(self.lengths) - 1, int(share * len(self.lengths)))]

    def histogram(self) -> list[tuple[int, int, int]]:
        """Up to BARS equal steps from the shortest row to the longest: first, last, and how many rows."""
        low, high = self.lengths[0], self.lengths[-1]
        step = -(-(high - low + 1) // BARS)
        starts = range(low, high + 1, step)
        return [
            (start, start + step - 1, sum(start <= n < start + step for n in self.lengths))
            for start in starts
        ]


def measure(
    examples: Mapping[Split, Sequence[Example]],
    tokenizer: Any,
    task: Task,
    limit: int,
    *,
    stop_ids: Sequence[int] = (),
    labels: Sequence[str] = (),
    sample: int = SAMPLE,
) -> Measured:
    """Encode rows as training would, or a sample of them. Raises InvalidData that names a row it would refuse."""
    objective = make_objective(task, tokenizer, stop_ids, labels=labels)
    everything = [(split, example) for split in SPLITS for example in examples[split]]
    chosen = everything
    if len(everything) > sample:
        places = sorted(random.Random(0).sample(range(len(everything)), sample))
        chosen = [everything[place] for place in places]
    encoded = [(split, example, _encoded(objective, split, example)) for split, example in chosen]
    lengths = [row.length for _, _, rows in encoded for row in rows]
    if not lengths:
        raise InvalidData("no row has a token to learn", "give texts with words in them", code="no-tokens")
    kept = [one for one in encoded if _cut(one[1], task) or all(row.length <= limit for row in one[2])]
    return Measured(
        rows=len(chosen),
        of=len(everything),
        limit=limit,
        lengths=tuple(sorted(lengths)),
        too_long=len(encoded) - len(kept),
        one_token=sum(
            any(_one_token(row, tokenizer, stop_ids, task) for row in rows) for _, _, rows in encoded
        ),
        rewritten=sum(len(rows) > 1 for _, _, rows in encoded),
        shown=tuple(
            _shown(split, example, rows[-1], tokenizer, task, labels)
            for split, example, rows in _telling(kept or encoded)
        ),
    )


Encoded = tuple[Split, Example, Sequence[Row]]


def _encoded(objective: Objective, split: Split, example: Example) -> Sequence[Row]:
    return objective.encode([example], WITHOUT_LIMIT, split).rows


def _cut(example: Example, task: Task) -> bool:
    """Whether a long row is cut, and not left out: of a text a part is as good as the whole."""
    return task is MASKED or (task is CAUSAL and bool(example.text) and example.label is None)


def _telling(encoded: Sequence[Encoded]) -> list[Encoded]:
    """Three rows that show the range: the first, one of middle length, the longest."""
    by_length = sorted(encoded, key=lambda one: one[2][-1].length if one[2] else 0)
    wanted = [encoded[0], by_length[len(by_length) // 2], by_length[-1]]
    wanted += [one for one in encoded[1:3] if one not in wanted]
    told: list[Encoded] = []
    for one in wanted:
        if one[2] and not any(one is other for other in told):
            told.append(one)
    return told[:3]


def _one_token(row: Row, tokenizer: Any, stop_ids: Sequence[int], task: Task) -> bool:
    """Whether an answer in a row is a single token, but for those that end it."""
    if task not in (CAUSAL, SEQ2SEQ):
        return False
    stops = {tokenizer.eos_token_id, *stop_ids}
    runs = groupby(row.labels, key=lambda label: label != IGNORED)
    return any(sum(label not in stops for label in run) <= 1 for learned, run in runs if learned)


def _shown(
    split: Split, example: Example, row: Row, tokenizer: Any, task: Task, labels: Sequence[str]
) -> Shown:
    if task is CLASSIFY:
        pieces = [*_pieces(row.ids, (IGNORED,) * len(row.ids), tokenizer), Piece(labels[row.labels[0]], True)]
    elif task is SEQ2SEQ:
        pieces = [
            *_pieces(row.ids, (IGNORED,) * len(row.ids), tokenizer),
            *_pieces(row.labels, row.labels, tokenizer),
        ]
    else:
        pieces = list(_pieces(row.ids, row.labels, tokenizer))
    return Shown(split, example.origin, row.length, tuple(pieces))


def _pieces(ids: Sequence[int], labels: Sequence[int], tokenizer: Any) -> Iterator[Piece]:
    special = frozenset(tokenizer.all_special_ids)
    marked = [(label != IGNORED, id_ in special, id_) for id_, label in zip(ids, labels, strict=True)]
    for (learned, mark), run in groupby(marked, key=lambda one: one[:2]):
        text = tokenizer.decode([id_ for _, _, id_ in run], skip_special_tokens=False)
        yield Piece(text, learned, mark)
