"""Rows of token ids, whatever they were made of, and how they go together."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from lftreg.errors import InvalidData
from lftreg.plugins.types import Message

IGNORED = -100  # a label that the loss passes over, as in torch's cross_entropy


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of one example, and what is learned of them.

    For a language model `labels` equals `ids` where a token is learned and is IGNORED elsewhere; for
    a sequence-to-sequence model they are the ids of the answer, for a classifier the one class. `number` is
    the place of its example in the split, from 1; 0 where nobody counts.
    """

    ids: tuple[int, ...]
    labels: tuple[int, ...]
    number: int = field(default=0, compare=False)

    @property
    def length(self) -> int:
        """Its longer side: of a sequence-to-sequence model the answer may be."""
        return max(len(self.ids), len(self.labels))

    @property
    def learned(self) -> int:
        return sum(label != IGNORED for label in self.labels)


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of a split, and how many examples were longer than the limit and left out."""

    rows: tuple[Row, ...]
    too_long: int
    longest: int

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def tokens(self) -> int:
        return sum(len(row.ids) for row in self.rows)


def check_answered(messages: Sequence[Message], where: str) -> None:
    """Raises InvalidData for a conversation that the assistant does not end, or in which it says nothing."""
    said = [message for message in messages if message.role == "assistant"]
    if not said or not all(message.content.strip() or message.calls for message in said):
        raise InvalidData(f"{where} has no answer to learn from", "give it a response", code="empty-answer")
    if messages[-1].role != "assistant":
        raise InvalidData(
            f"{where} ends with the {messages[-1].role}'s turn",
            "a conversation is learned up to an answer: leave out what comes after the last one",
            code="no-last-answer",
        )


def check_ids(rows: Sequence[Row], embeddings: int, split: str, decode: Callable[[int], str]) -> None:
    """Raises InvalidData for the first row with an id that a base has no embedding for."""
    for row in rows:
        stranger = max(*row.ids, *row.labels)
        if stranger >= embeddings:
            raise InvalidData(
                f"{split} row {row.number} holds the token {decode(stranger)!r} ({stranger}), "
                f"and the base has {embeddings} embeddings",
                "its tokenizer knows more than it: resize_token_embeddings makes room, and needs training",
                code="unknown-ids",
            )


def within(rows: Sequence[Row], limit: int, split: str) -> Rows:
    """The rows of at most `limit` ids.

    A row over the limit is left out whole, never cut: a cut answer teaches not to stop. Raises
    InvalidData where none is left.
    """
    longest = max((row.length for row in rows), default=0)
    kept = tuple(row for row in rows if row.length <= limit)
    if rows and not kept:
        raise InvalidData(
            f"every {split} row is longer than {limit} tokens (the longest has {longest})",
            f"--max-length {longest} keeps them, if the base takes that much",
            code="all-too-long",
        )
    return Rows(kept, len(rows) - len(kept), longest)


def batches(rows: Sequence[Row], size: int, seed: int) -> Iterator[list[Row]]:
    """One pass over the rows, in an order given by `seed`, rows of like length together.

    Sorting within windows of sixteen batches keeps the padding low and the order random.
    """
    order = random.Random(seed)
    shuffled = list(rows)
    order.shuffle(shuffled)
    window = 16 * size
    made: list[list[Row]] = []
    for start in range(0, len(shuffled), window):
        alike = sorted(shuffled[start : start + window], key=lambda row: len(row.ids))
        made += [alike[at : at + size] for at in range(0, len(alike), size)]
    order.shuffle(made)
    yield from made
