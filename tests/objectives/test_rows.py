from __future__ import annotations

from lftreg.objectives.rows import Row, batches, data_digest
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
