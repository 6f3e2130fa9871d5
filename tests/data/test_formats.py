from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest

from lftreg.data import formats
from lftreg.data.formats import read_rows
from lftreg.errors import InvalidData, NotFound
from tests.data.conftest import lines, pairs

ROWS = [
    {"prompt": f"Wo ist Paket {n}, bitte? Über\nMittag.", "response": f'"A" {n}; b,c\t|'} for n in range(5)
]


def as_csv(path: Path, delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8-sig") as file:
        writer = csv.DictWriter(file, ["prompt", "response"], delimiter=delimiter)
        writer.writeheader()
        writer.writerows(ROWS)
    return path


def as_json(path: Path, whole: Any = ROWS) -> Path:
    path.write_text(json.dumps(whole))
    return path


def as_parquet(path: Path, rows: list[Any] = ROWS) -> Path:
    import pyarrow
    import pyarrow.parquet

    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), path)
    return path


WRITTEN = {
    "own.jsonl": lambda path: lines(path, ROWS),
    "own.ndjson": lambda path: lines(path, ROWS),
    "own.json": as_json,
    "nested.json": lambda path: as_json(path, {"version": 1, "data": ROWS}),
    "own.csv": as_csv,
    "semicolons.csv": lambda path: as_csv(path, ";"),
    "pipes.CSV": lambda path: as_csv(path, "|"),
    "own.tsv": lambda path: as_csv(path, "\t"),
    "own.parquet": as_parquet,
}


@pytest.mark.parametrize("name", WRITTEN)
def test_every_format_gives_the_same_rows(tmp_path: Path, name: str) -> None:
    path = WRITTEN[name](tmp_path / name)
    assert list(read_rows(path)) == list(enumerate(ROWS, start=1))


def test_parquet_keeps_conversations(tmp_path: Path) -> None:
    rows = [{"messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]}] * 3
    assert list(read_rows(as_parquet(tmp_path / "own.parquet", rows))) == list(enumerate(rows, start=1))


def test_empty_lines_count_and_hold_no_row(tmp_path: Path) -> None:
    path = lines(tmp_path / "own.jsonl", ['{"a": 1}', "", '{"a": 2}'])
    assert [number for number, _ in read_rows(path)] == [1, 3]
    (tmp_path / "own.csv").write_text("a,b\n1,2\n\n3,4\n")
    assert list(read_rows(tmp_path / "own.csv")) == [(1, {"a": "1", "b": "2"}), (3, {"a": "3", "b": "4"})]


def test_a_byte_order_mark_is_passed_over(tmp_path: Path) -> None:
    (tmp_path / "own.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\n')
    assert list(read_rows(tmp_path / "own.jsonl")) == [(1, {"a": 1})]


BAD = {
    "not JSON": ("own.jsonl", b'{"a": 1}\n{oops\n', "own.jsonl, row 2: not JSON"),
    "bottomless": ("own.jsonl", b'{"a": 1}\n' + b"[" * 100_000 + b"\n", "row 2: not JSON"),
    "a list": ("own.jsonl", b'{"a": 1}\n[1]\n', "row 2: not a JSON object"),
    "bad UTF-8": ("own.jsonl", b'{"a": 1}\n{"a": "\xff"}\n', "own.jsonl, line 2 is not UTF-8"),
    "UTF-16": ("own.jsonl", '{"a": 1}\n'.encode("utf-16"), "own.jsonl, line 1 is not UTF-8"),
    "one word": ("own.json", b'"hello"', "holds no list of rows"),
    "two lists": ("own.json", b'{"a": [], "b": []}', "holds no list of rows"),
    "lines in JSON": ("own.json", b'{"a": 1}\n{"a": 2}\n', "own.json is not JSON"),
    "a number in a list": ("own.json", b'[{"a": 1}, 2]', "own.json, row 2: not a JSON object"),
    "bad UTF-8 in JSON": ("own.json", b'["\xff"]', "not UTF-8"),
    "too few cells": ("own.csv", b"a,b\n1,2\n3\n", "own.csv, row 2: 1 cells, and the header names 2"),
    "too many cells": ("own.csv", b"a,b\n1,2,3\n", "own.csv, row 1: 3 cells, and the header names 2"),
    "an open quote": ("own.csv", b'a,b\n1,2\n"3,4\n5,6\n', "own.csv, row 2: not CSV"),
    "a name twice": ("own.csv", b"a,a\n1,2\n", "its header names 'a' twice"),
    "no name": ("own.csv", b"a,\n1,2\n", "leaves a column without a name"),
    "bad UTF-8 in CSV": ("own.csv", b"a,b\n1,\xff\n", "own.csv, line 2 is not UTF-8"),
    "no Parquet": ("own.parquet", b"PAR1 but not really PAR1", "no whole Parquet file"),
    "an unknown format": ("own.xlsx", b"PK", "own.xlsx is of no format"),
}


@pytest.mark.parametrize(("name", "content", "message"), BAD.values(), ids=BAD)
def test_a_bad_file_is_named(tmp_path: Path, name: str, content: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InvalidData) as caught:
        list(read_rows(tmp_path / name))
    assert message in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("name", ["own.jsonl", "own.csv"])
def test_a_line_without_an_end_is_not_read_into_memory(tmp_path: Path, name: str) -> None:
    """A gigabyte in one line, of which the disk holds nothing."""
    import resource

    path = tmp_path / name
    path.write_bytes(b"prompt,response\n" if name.endswith("csv") else b'{"prompt": "a", "response": "b"}\n')
    with path.open("r+b") as file:
        file.truncate(2**30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InvalidData, match=r"row \d: longer than 16 MiB"):
        list(read_rows(path))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # KiB


def test_a_json_file_that_is_too_large_to_read_whole(tmp_path: Path) -> None:
    with (tmp_path / "own.json").open("wb") as file:
        file.truncate(formats.LARGEST_WHOLE + 1)
    with pytest.raises(InvalidData, match="as a whole"):
        list(read_rows(tmp_path / "own.json"))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no file"):
        list(read_rows(tmp_path / "none.jsonl"))
    with pytest.raises(NotFound):
        list(read_rows(tmp_path))


def test_parquet_without_pyarrow_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from lftreg.errors import Unavailable

    path = as_parquet(tmp_path / "own.parquet", pairs(2))
    for name in [name for name in sys.modules if name.partition(".")[0] == "pyarrow"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unavailable, match="needs pyarrow") as caught:
        list(read_rows(path))
    assert "lftreg[parquet]" in str(caught.value.hint)
