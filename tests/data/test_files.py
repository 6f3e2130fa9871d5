from __future__ import annotations

from pathlib import Path

import pytest

from lftreg.data import domain_from_files, read_data
from lftreg.data.files import name_of
from lftreg.errors import InvalidData, UsageError
from lftreg.plugins.types import SPLITS
from tests.data.conftest import lines, pairs


def test_files_are_a_domain_named_after_the_first(tmp_path: Path) -> None:
    one, two = lines(tmp_path / "My Inbox.jsonl", pairs(60)), tmp_path / "more.csv"
    two.write_text("question,answer\n" + "".join(f"Why {n}?,Because {n}.\n" for n in range(40)))
    data = read_data([one, two])
    assert data.domain.name == "my-inbox"
    assert data.domain.summary == "100 rows of My Inbox.jsonl, more.csv"
    assert [(source.rows, dict(source.columns)) for source in data.sources] == [
        (60, {"prompt": "prompt", "response": "response"}),
        (40, {"prompt": "question", "response": "answer"}),
    ]
    assert sum(len(list(data.domain.build(split, 0))) for split in SPLITS) == 100


@pytest.mark.parametrize(
    ("stem", "name"), [("Über Uns", "ber-uns"), ("...", "data"), ("a" * 99, "a" * 64), ("x_1", "x_1")]
)
def test_a_name_is_made_of_any_stem(stem: str, name: str) -> None:
    assert name_of(Path(f"{stem}.jsonl")) == name


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (0, "no row in own.jsonl"),
        (1, "one row in own.jsonl"),
        (9, "9 rows in own.jsonl: too few to learn from"),
    ],
)
def test_too_few_rows_are_refused(tmp_path: Path, count: int, message: str) -> None:
    with pytest.raises(InvalidData) as caught:
        domain_from_files([lines(tmp_path / "own.jsonl", pairs(count))])
    assert message in caught.value.message
    assert caught.value.code == "few-rows"


def test_a_bad_row_is_named_by_its_number(tmp_path: Path) -> None:
    rows = [*pairs(37), {"prompt": "Q"}, *pairs(3)]
    with pytest.raises(InvalidData) as caught:
        domain_from_files([lines(tmp_path / "own.jsonl", rows)])
    assert caught.value.message == "own.jsonl, row 38: 'response' is missing"


def test_labels_of_one_class_are_refused(tmp_path: Path) -> None:
    rows = [{"text": f"letter {n}", "label": "spam"} for n in range(20)]
    with pytest.raises(InvalidData, match="every row has the label 'spam'") as caught:
        domain_from_files([lines(tmp_path / "own.jsonl", rows)])
    assert caught.value.code == "one-label"


def test_labels_and_pairs_do_not_mix(tmp_path: Path) -> None:
    labelled = [{"text": f"letter {n}", "label": str(n % 2)} for n in range(20)]
    files = [lines(tmp_path / "a.jsonl", labelled), lines(tmp_path / "b.jsonl", pairs(20))]
    with pytest.raises(InvalidData, match="20 of 40 rows have no label") as caught:
        domain_from_files(files)
    assert caught.value.code == "mixed-shapes"


def test_a_wrong_map_is_a_mistake_of_the_command(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no column 'promt'"):
        read_data([lines(tmp_path / "own.jsonl", pairs(20))], columns={"prompt": "promt"})
