from __future__ import annotations

import pytest

from lftreg.data.origin import data_digest
from lftreg.errors import InvalidData
from lftreg.objectives.rows import IGNORED, Row, batches, check_answered, check_ids
from lftreg.plugins.types import Example, Message

PAIR = Example.pair("Where is my parcel?", "Parcels leave the barn at four.")
TURNS = Example((*PAIR.messages, Message("user", "And then?"), Message("assistant", "On the van.")))


def test_batches_hold_every_row_once_and_follow_the_seed() -> None:
    rows = [Row((n,) * (1 + n % 7), (n,) * (1 + n % 7)) for n in range(50)]
    first = list(batches(rows, 8, seed=1))
    assert {row for batch in first for row in batch} == set(rows)
    assert sum(map(len, first)) == len(rows)
    assert first == list(batches(rows, 8, seed=1))
    assert first != list(batches(rows, 8, seed=2))


def test_the_data_digest_depends_on_text_and_split_only() -> None:
    assert data_digest({"train": [PAIR]}) == data_digest({"train": [Example(PAIR.messages, fact="x")]})
    assert data_digest({"train": [PAIR]}) != data_digest({"validation": [PAIR]})
    assert data_digest({"train": [PAIR]}) != data_digest({"train": [TURNS]})


def test_the_data_digest_knows_texts_and_labels() -> None:
    texts = [Example.passage("a"), Example.passage("b"), Example.passage("a", "x"), Example.passage("a", "y")]
    assert len({data_digest({"train": [text]}) for text in texts}) == 4


def test_ids_without_an_embedding_are_named() -> None:
    rows = [Row((1, 2), (IGNORED, 2), 1), Row((1, 9, 12), (IGNORED, 9, 12), 2)]
    check_ids(rows, 13, "train", str)
    with pytest.raises(InvalidData, match=r"train row 2 holds the token '12' \(12\), .* 12 embeddings"):
        check_ids(rows, 12, "train", str)


def test_a_conversation_ends_with_an_answer() -> None:
    asked, told = Message("user", "Where?"), Message("assistant", "Here.")
    check_answered([asked, told], "train row 1")
    for messages, code in (
        ([asked], "empty-answer"),
        ([asked, Message("assistant", " ")], "empty-answer"),
        ([asked, told, asked], "no-last-answer"),
    ):
        with pytest.raises(InvalidData, match="train row 1") as caught:
            check_answered(messages, "train row 1")
        assert caught.value.code == code
