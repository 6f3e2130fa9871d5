"""From conversations to rows of token ids, and the proof that the rows can teach anything."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from lftreg.errors import InvalidData
from lftreg.models.chat import Chat
from lftreg.plugins.types import Example, Split

IGNORED = -100  # a label that the loss passes over, as in torch's cross_entropy


@dataclass(frozen=True, slots=True)
class Row:
    """Token ids of one example; `labels` equals `ids` where a token is learned, IGNORED elsewhere."""

    ids: tuple[int, ...]
    labels: tuple[int, ...]

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


def encode(examples: Sequence[Example], chat: Chat, limit: int, split: str) -> Rows:
    """Rows of at most `limit` ids, each proven to teach an answer and where it ends.

    An example over the limit is left out whole, never cut: a cut answer teaches not to stop.
    Raises InvalidData that names the first row (counted from 1) with nothing to learn.
    """
    rows: list[Row] = []
    longest = 0
    for number, example in enumerate(examples, start=1):
        where = f"{split} row {number}"
        if not all(m.content.strip() for m in example.messages if m.role == "assistant"):
            raise InvalidData(
                f"{where} has no answer to learn from", "give it a response", code="empty-answer"
            )
        row = _row(example, chat)
        _prove(row, chat, where)
        longest = max(longest, len(row.ids))
        if len(row.ids) <= limit:
            rows.append(row)
    if examples and not rows:
        raise InvalidData(
            f"every {split} row is longer than {limit} tokens (the longest has {longest})",
            f"--max-length {longest} keeps them, if the base takes that much",
            code="all-too-long",
        )
    return Rows(tuple(rows), len(examples) - len(rows), longest)


def data_digest(splits: Mapping[Split, Sequence[Example]]) -> str:
    """sha256 of the examples themselves, whatever tokenizer reads them."""
    digest = hashlib.sha256()
    for split in sorted(splits):
        for example in splits[split]:
            turns = [[message.role, message.content] for message in example.messages]
            digest.update(json.dumps([split, turns], ensure_ascii=False).encode())
            digest.update(b"\n")
    return digest.hexdigest()


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


def words_of(rows: Sequence[Row], chat: Chat) -> frozenset[int]:
    """Ids in these rows that stand for letters or digits: not the template's marks, not punctuation."""
    seen = {id_ for row in rows for id_ in row.ids} - set(chat.tokenizer.all_special_ids)
    return frozenset(id_ for id_ in seen if any(c.isalnum() for c in chat.tokenizer.decode([id_])))


def thinned(rows: Sequence[Row], share: float, words: frozenset[int], seed: int) -> list[Row]:
    """Rows whose prompts have lost a random `share` of their words; answers stay whole.

    Word dropout (Iyyer et al. 2015, doi 10.3115/v1/P15-1162): with a few wordings a question, what is
    learned is to go by several words of it, and not by one that happens to be telling.
    """
    dice = random.Random(seed)
    made = []
    for row in rows:
        kept = [
            at
            for at, (id_, label) in enumerate(zip(row.ids, row.labels, strict=True))
            if label != IGNORED or id_ not in words or dice.random() >= share
        ]
        made.append(Row(tuple(row.ids[at] for at in kept), tuple(row.labels[at] for at in kept)))
    return made


def _row(example: Example, chat: Chat) -> Row:
    ids: list[int] = []
    labels: list[int] = []
    for segment in chat.segments(example.messages):
        ids += segment.ids
        labels += segment.ids if segment.supervised else [IGNORED] * len(segment.ids)
    return Row(tuple(ids), tuple(labels))


def _prove(row: Row, chat: Chat, where: str) -> None:
    """More is learned than the stop token, and the stop token is the last of it."""
    learned = [label for label in row.labels if label != IGNORED]
    if len(learned) < 2 or learned[-1] not in chat.stop_ids:
        raise InvalidData(
            f"the answer of {where} does not end in a stop token: what learns from it never stops",
            "the base's chat template and its eos_token disagree",
            code="no-stop",
        )
