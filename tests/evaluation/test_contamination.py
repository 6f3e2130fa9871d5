from __future__ import annotations

import json
from pathlib import Path

import pytest

from lftreg.evaluation.contamination import find_contamination
from lftreg.evaluation.suite import make_suite
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example
from lftreg.registry import CONFIG, WEIGHTS, Base, Draft, Parent, Recipe, Registry, Version
from lftreg.training import train

LONG = "I would like to know how many days I have left before the parcel must be sent back to you"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    file = tmp_path / "desk.jsonl"
    rows = [{"prompt": f"What is number {n}?", "response": f"It is {n}."} for n in range(20)]
    rows += [{"prompt": LONG, "response": "Thirty.", "split": "train"}]
    rows = [row | {"split": "validation" if n < 3 else "train"} for n, row in enumerate(rows)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


@pytest.fixture
def trained(registry: Registry, tiny_llama: Path, data: Path) -> Version:
    from lftreg.data import read_data

    return train(
        read_data([data], "desk").domain,
        base=str(tiny_llama),
        registry=registry,
        max_steps=1,
        source={"data": [str(data)], "map": []},
    )


ITEMS = [
    Example.pair("What is number 7?", "It is 7."),  # as it was trained on
    Example.pair("what is NUMBER 8", "Eight."),  # case and punctuation aside
    Example.pair("What is number 1?", "It is 1."),  # of the validation split
    Example.pair(f"Hello. {LONG.lower()}, please", "Forty."),  # thirteen words in a row
    Example.pair("How many days are there to send it back?", "Thirty."),
]


def test_questions_that_were_trained_on_are_found_and_others_are_not(
    registry: Registry, trained: Version
) -> None:
    found = find_contamination(make_suite("s", ITEMS), trained, registry, Host())
    assert found.asked == {0, 1, 3}
    assert found.answered == {0, 4}
    assert found.unknown == ()


def test_what_a_composition_saw_is_what_its_parents_saw(registry: Registry, trained: Version) -> None:
    made = registry.publish(
        Draft(
            "mixed", "composed", trained.base, registry.file(trained, WEIGHTS), registry.config(trained),
            recipe=Recipe("cat", {}, (Parent(trained.ref, trained.digest, 1.0),)),
        )
    )  # fmt: skip
    assert find_contamination(make_suite("s", ITEMS), made, registry, Host()).asked == {0, 1, 3}


def test_data_that_is_gone_or_changed_is_not_taken_for_clean(
    registry: Registry, trained: Version, data: Path
) -> None:
    data.write_text(data.read_text().replace("number 9", "number nine"))
    found = find_contamination(make_suite("s", ITEMS), trained, registry, Host())
    assert (found.asked, len(found.unknown)) == (frozenset(), 1)
    assert "desk@1" in found.unknown[0]
    data.unlink()
    assert find_contamination(make_suite("s", ITEMS), trained, registry, Host()).unknown


def test_an_imported_adapter_says_that_its_data_is_unknown(registry: Registry, trained: Version) -> None:
    weights, config = registry.file(trained, WEIGHTS), registry.config(trained)
    taken = registry.publish(Draft("theirs", "imported", Base("e" * 64, "b", "llama", 1), weights, config))
    found = find_contamination(make_suite("s", ITEMS), taken, registry, Host())
    assert found.unknown == ("theirs@1: it was imported, so its data is unknown",)
    assert CONFIG
