"""Files, folders and weights: what --data names, what is read of it, how often it is shown, and whether it changed."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import pytest

from lftreg.data import read_data
from lftreg.data.wanted import Wanted, parse_data
from lftreg.errors import InvalidData, InvalidReference, UsageError
from tests.data.conftest import lines, pairs


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("./a.jsonl", Wanted(Path("a.jsonl"))),
        ("./a.jsonl:2", Wanted(Path("a.jsonl"), weight=2)),
        ("letters:.25", Wanted(Path("letters"), weight=0.25)),
        ("old:notes.jsonl", Wanted(Path("old:notes.jsonl"))),
        ("hub:org/name", Wanted(hub="org/name")),
        ("hub:org/name:1.5", Wanted(hub="org/name", weight=1.5)),
        ("hub:org/na.me@v1/x:3", Wanted(hub="org/na.me", revision="v1/x", weight=3)),
        (Path("a.jsonl:2"), Wanted(Path("a.jsonl:2"))),
    ],
)
def test_a_weight_follows_the_last_colon(given: str | Path, wanted: Wanted) -> None:
    assert parse_data(given) == wanted


@pytest.mark.parametrize("given", ["a.jsonl:0", "a.jsonl:-1", "a.jsonl:101", "a.jsonl:nan", "a.jsonl:inf"])
def test_weights_that_make_no_sense_are_refused(given: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_data(given)
    assert caught.value.code == "invalid-weight"


@pytest.mark.parametrize("given", ["hub:", "hub:org", "hub:a/b/c", "hub:org/name@", "hub:org/name:much"])
def test_a_dataset_named_wrongly_is_refused(given: str) -> None:
    with pytest.raises(InvalidReference):
        parse_data(given)


def test_a_file_with_a_colon_in_its_name_is_found(tmp_path: Path) -> None:
    odd = lines(tmp_path / "rows.jsonl:2", pairs(3))
    assert parse_data(str(odd)) == Wanted(odd)
    whole = lines(tmp_path / "own.jsonl", pairs(3))
    with pytest.raises(InvalidReference, match="weight 'twice'"):
        parse_data(f"{whole}:twice")


def test_weights_repeat_and_thin_rows_of_train_and_no_others(tmp_path: Path) -> None:
    one = lines(tmp_path / "one.jsonl", pairs(200))
    two = lines(tmp_path / "two.jsonl", [{"question": f"Why {n}?", "answer": f"So {n}."} for n in range(400)])
    data = read_data([f"{one}:2.5", f"{two}:0.25"])
    shown = Counter(data.domain.build("train", 0))
    often = Counter(shown[e] for e in data.examples["train"] if e.prompt.startswith("Question"))
    seldom = Counter(shown[e] for e in data.examples["train"] if e.prompt.startswith("Why"))
    assert set(often) == {2, 3}
    assert 0.3 < often[3] / often.total() < 0.7
    assert set(seldom) == {0, 1}
    assert 0.15 < seldom[1] / seldom.total() < 0.35
    assert data.trained == shown.total()
    for split in ("validation", "test"):
        assert list(data.domain.build(split, 0)) == list(data.examples[split])
    turned = lines(tmp_path / "one.jsonl", pairs(200)[::-1])
    assert Counter(read_data([f"{two}:0.25", f"{turned}:2.5"]).domain.build("train", 1)) == shown
    assert {source.weight for source in data.sources} == {2.5, 0.25}


def test_a_weight_that_leaves_nothing_is_refused(tmp_path: Path) -> None:
    own = lines(tmp_path / "own.jsonl", pairs(12))
    with pytest.raises(InvalidData, match="no row of train is left"):
        read_data([f"{own}:0.0001"])


def test_the_same_data_twice_is_refused(tmp_path: Path) -> None:
    own = lines(tmp_path / "own.jsonl", pairs(12))
    with pytest.raises(UsageError, match="given twice") as caught:
        read_data([str(own), f"{tmp_path}/./own.jsonl:2"])
    assert caught.value.code == "same-data"


@pytest.fixture
def letters(tmp_path: Path) -> Path:
    folder = tmp_path / "Old Letters"
    for n in range(12):
        path = folder / f"year{n % 3}" / f"{n:02}.{'md' if n % 2 else 'txt'}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"Letter number {n}.\n")
    (folder / ".draft.txt").write_text("not this")
    (folder / ".git").mkdir()
    (folder / ".git" / "note.txt").write_text("nor this")
    (folder / "empty.txt").write_text("")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    return folder


def test_a_folder_of_texts_is_a_bare_text_a_file(letters: Path) -> None:
    data = read_data([letters])
    assert data.domain.name == "old-letters"
    (source,) = data.sources
    assert (source.name, source.rows, source.files) == ("Old Letters/", 12, 12)
    assert source.left_out == "2 hidden and 1 empty"
    texts = sorted(e.text for found in data.examples.values() for e in found)
    assert texts == sorted(f"Letter number {n}." for n in range(12))
    assert data.domain.summary == "12 rows of Old Letters/"


def test_a_folder_with_rows_is_read_for_its_rows(letters: Path) -> None:
    lines(letters / "one.jsonl", pairs(20))
    (letters / "more").mkdir()
    (letters / "more" / "two.csv").write_text("question,answer\n" + "Why,So\n" * 5)
    data = read_data([f"{letters}:2"])
    assert [source.name for source in data.sources] == ["Old Letters/more/two.csv", "Old Letters/one.jsonl"]
    assert data.sources[0].columns == {"prompt": "question", "response": "answer"}
    assert all(source.weight == 2 for source in data.sources)


def test_files_named_for_a_split_are_that_split(tmp_path: Path) -> None:
    folder = tmp_path / "parts"
    folder.mkdir()
    lines(folder / "train.jsonl", pairs(40)[:20])
    lines(folder / "val-0001.jsonl", pairs(40)[20:30])
    lines(folder / "TEST.jsonl", pairs(40)[30:])
    data = read_data([folder])
    assert {split: len(found) for split, found in data.examples.items()} == {
        "train": 20,
        "validation": 10,
        "test": 10,
    }
    assert data.split_by == "the names of files"
    assert not data.domain.attachments


def test_a_folder_with_nothing_to_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "none").mkdir()
    with pytest.raises(InvalidData, match="holds no file") as caught:
        read_data([tmp_path / "none"])
    assert caught.value.code == "empty-folder"
    (tmp_path / "none" / "a.png").write_bytes(b"PNG")
    with pytest.raises(InvalidData, match="none of them text or rows"):
        read_data([tmp_path / "none"])


def test_a_text_that_is_no_text_is_named(letters: Path) -> None:
    (letters / "bad.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidData, match=r"bad\.txt is not UTF-8"):
        read_data([letters])


def test_a_file_that_changed_is_noticed_and_a_touched_one_is_not(tmp_path: Path, letters: Path) -> None:
    own = lines(tmp_path / "own.jsonl", pairs(20))
    data = read_data([own, letters], columns=None)
    assert data.changed() == []
    os.utime(own, (1, 1))
    assert data.changed() == []
    lines(own, pairs(21))
    assert data.changed() == ["own.jsonl"]
    (letters / "new.txt").write_text("One more.")
    assert data.changed() == ["own.jsonl", "Old Letters/"]
    own.unlink()
    assert "own.jsonl" in data.changed()


def test_digests_are_of_content(tmp_path: Path) -> None:
    import hashlib

    own = lines(tmp_path / "own.jsonl", pairs(20))
    (source,) = read_data([own]).sources
    assert source.sha256 == hashlib.sha256(own.read_bytes()).hexdigest()
