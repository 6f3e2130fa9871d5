from __future__ import annotations

import json
from pathlib import Path

import pytest

from lftreg.data import read_data, remembered_split
from lftreg.data.splits import SPLIT_FILE, key_of, place_rows
from lftreg.errors import InvalidData
from lftreg.plugins.types import SPLITS, Domain
from lftreg.registry import Registry
from lftreg.training import train
from tests.data.conftest import lines, pairs


def prompts(domain: Domain) -> dict[str, set[str]]:
    return {split: {example.prompt for example in domain.build(split, 0)} for split in SPLITS}


def test_a_row_stays_in_its_split_as_the_file_grows(tmp_path: Path) -> None:
    few = prompts(read_data([lines(tmp_path / "a.jsonl", pairs(100))]).domain)
    more = prompts(read_data([lines(tmp_path / "b.jsonl", pairs(200))]).domain)
    for split in SPLITS:
        assert few[split]
        assert few[split] <= more[split]
    assert sum(map(len, few.values())) == 100


@pytest.mark.parametrize("count", range(10, 40))
def test_no_split_of_a_small_file_is_empty(count: int, tmp_path: Path) -> None:
    data = read_data([lines(tmp_path / "own.jsonl", pairs(count))])
    assert all(data.examples[split] for split in SPLITS)
    assert len(data.examples["train"]) >= count / 2
    again = read_data([lines(tmp_path / "own.jsonl", pairs(count)[::-1])])
    assert prompts(again.domain) == prompts(data.domain)


def test_equal_prompts_stay_on_one_side(tmp_path: Path) -> None:
    rows = [{"prompt": f"Question {n % 20}?", "response": f"Answer {n}."} for n in range(60)]
    found = prompts(read_data([lines(tmp_path / "own.jsonl", rows)]).domain)
    assert not found["train"] & (found["validation"] | found["test"])
    assert not found["validation"] & found["test"]


def test_a_column_decides_for_itself(tmp_path: Path) -> None:
    rows = [row | {"split": "validation" if n < 5 else "train"} for n, row in enumerate(pairs(20))]
    data = read_data([lines(tmp_path / "own.jsonl", rows)])
    assert {split: len(found) for split, found in data.examples.items()} == {
        "train": 15,
        "validation": 5,
        "test": 0,
    }
    assert data.split_by == "the column 'split'"
    assert not data.domain.attachments
    with pytest.raises(InvalidData, match="no row falls to validation"):
        read_data([lines(tmp_path / "own.jsonl", [row | {"split": "train"} for row in pairs(20)])])


def test_one_prompt_has_nothing_to_hold_out(tmp_path: Path) -> None:
    rows = [{"prompt": "Q", "response": f"A {n}"} for n in range(12)]
    with pytest.raises(InvalidData, match="no row falls to validation"):
        read_data([lines(tmp_path / "own.jsonl", rows)])


@pytest.mark.slow
def test_what_was_held_out_stays_held_out(tmp_path: Path, registry: Registry, tiny_llama: Path) -> None:
    """In a small file a row was moved to validation; with more rows its hash alone would let it be trained on."""
    keys = {
        key_of(example): example
        for example in read_data([lines(tmp_path / "x.jsonl", pairs(400))]).examples["train"]
    }
    small = [{"prompt": e.prompt, "response": e.response} for e in list(keys.values())[:12]]
    first = read_data([lines(tmp_path / "own.jsonl", small)])
    version = train(first.domain, base=str(tiny_llama), registry=registry, max_steps=10, lr=1e-2)
    record = json.loads(registry.read(version, SPLIT_FILE))
    assert len(record["validation"]) == len(record["test"]) == 1

    held_out, by = remembered_split(registry, "own")
    assert by is not None
    assert by.ref == version.ref
    more = lines(tmp_path / "own.jsonl", [*small, *pairs(400)])
    forgetful, mindful = read_data([more]), read_data([more], remembered=held_out)
    was = prompts(first.domain)
    for split in ("validation", "test"):
        assert was[split] <= prompts(forgetful.domain)["train"]
        assert was[split] <= prompts(mindful.domain)[split]


def test_a_version_that_holds_no_split_remembers_none(registry: Registry) -> None:
    assert remembered_split(registry, "nobody") == ({}, None)
    assert remembered_split(registry, "Not A Name") == ({}, None)


def test_places_do_not_depend_on_order() -> None:
    keys = [f"{n:016x}" for n in range(30)]
    assert place_rows(keys, {}) == place_rows(keys[::-1], {})


def test_rows_that_name_their_split_hold_the_others_to_it(tmp_path: Path) -> None:
    rows = [*pairs(40), *[row | {"split": "train"} for row in pairs(20)]]
    found = prompts(read_data([lines(tmp_path / "own.jsonl", rows)]).domain)
    assert {f"Question {n}?" for n in range(20)} <= found["train"]
    assert not found["train"] & (found["validation"] | found["test"])


def test_a_column_that_trains_on_what_it_holds_out_is_refused(tmp_path: Path) -> None:
    rows = [row | {"split": split} for split in ("train", "validation") for row in pairs(10)]
    with pytest.raises(InvalidData, match="10 rows of validation ask what rows of train ask too"):
        read_data([lines(tmp_path / "own.jsonl", rows)])


def test_a_conversation_stays_with_those_that_go_on_from_it(tmp_path: Path) -> None:
    rows = []
    for n in range(60):
        turns: list[dict[str, str]] = []
        for turn in range(3):
            turns = [*turns, {"role": "user", "content": f"Question {n}.{turn}?"}]
            turns = [*turns, {"role": "assistant", "content": f"Answer {n}.{turn}."}]
            rows.append({"messages": turns})
    data = read_data([lines(tmp_path / "own.jsonl", rows)])
    firsts = {split: {e.messages[0].content for e in found} for split, found in data.examples.items()}
    assert all(firsts.values())
    assert not firsts["train"] & (firsts["validation"] | firsts["test"])


def test_a_composition_of_the_same_name_forgets_nothing(
    tmp_path: Path, registry: Registry, tiny_llama: Path
) -> None:
    from lftreg import compose

    data = read_data([lines(tmp_path / "own.jsonl", pairs(40))])
    train(data.domain, base=str(tiny_llama), registry=registry, max_steps=10, lr=1e-2)
    compose(["own"], name="own", registry=registry)
    held_out, version = remembered_split(registry, "own")
    assert version is not None
    assert version.ref == "own@1"
    assert "validation" in held_out.values()
