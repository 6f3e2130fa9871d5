"""Files as rows: JSON Lines, JSON, CSV and Parquet, read under limits, every bad row named.

Rows count from 1, without a header. A row is a mapping from columns to whatever stands in them.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NoReturn

from lftreg.errors import InvalidData, NotFound, StorageError, Unavailable

LONGEST_LINE = 16 * 2**20  # bytes; what is longer is no example, but a file without line ends
LARGEST_WHOLE = 512 * 2**20  # bytes of a file that can only be read as a whole
DELIMITERS = ",;\t|"
NOTHING_LOST = "nothing was registered"

Row = tuple[int, dict[str, Any]]


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file and their numbers. Raises NotFound, or InvalidData that names the first bad row."""
    if not path.is_file():
        raise NotFound(f"no file {path}", f"give a file: {', '.join(READERS)}", code="unknown-file")
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InvalidData(
            f"{path.name} is of no format that is known here",
            f"name it for what it holds: {', '.join(READERS)}; a folder of texts may be given as a whole",
            code="unknown-format",
        )
    try:
        yield from reader(path)
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error


def refuse_row(path: Path, number: int, reason: str, hint: str = NOTHING_LOST) -> NoReturn:
    """Raise the error for one bad row."""
    raise InvalidData(f"{path.name}, row {number}: {reason}", hint, code="bad-row")


def _jsonl(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        for number, line in enumerate(_lines(path, file), start=1):
            if line.strip():
                yield number, _object(path, number, line)


def _object(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        refuse_row(path, number, f"not JSON ({error})")
    if not isinstance(row, dict):
        refuse_row(path, number, "not a JSON object")
    return row


def _json(path: Path) -> Iterator[Row]:
    """A list of objects, or an object that holds one such list and no other."""
    _refuse_large(path)
    try:
        whole = json.loads(path.read_bytes().decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise _not_utf8(path.name, error) from error
    except (ValueError, RecursionError) as error:
        raise InvalidData(
            f"{path.name} is not JSON: {error}", "one object a line is called .jsonl", code="not-json"
        ) from error
    lists = [value for value in whole.values() if isinstance(value, list)] if isinstance(whole, dict) else []
    rows = lists[0] if len(lists) == 1 else whole
    if not isinstance(rows, list):
        raise InvalidData(
            f"{path.name} holds no list of rows", 'write [{"prompt": ...}, ...]', code="not-rows"
        )
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, dict):
            refuse_row(path, number, "not a JSON object")
        yield number, row


def _csv(path: Path) -> Iterator[Row]:
    """A header, then a record a row. The delimiter is what the header holds most of."""
    csv.field_size_limit(LONGEST_LINE)
    with path.open("rb") as file:
        lines = _lines(path, file, keep_ends=True)
        header = next(lines, "")
        delimiter = max(DELIMITERS, key=header.count)
        reader = csv.reader(_chained(header, lines), delimiter=delimiter, strict=True)
        number = 0
        try:
            columns = [name.strip() for name in next(reader, [])]
            _check_header(path, columns)
            for number, cells in enumerate(reader, start=1):
                if not cells:
                    continue
                if len(cells) != len(columns):
                    refuse_row(path, number, f"{len(cells)} cells, and the header names {len(columns)}")
                yield number, dict(zip(columns, cells, strict=True))
        except csv.Error as error:
            refuse_row(path, number + 1, f"not CSV ({error}); is a quote left open?")


def _check_header(path: Path, columns: list[str]) -> None:
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice or not all(columns):
        what = f"names {twice[0]!r} twice" if twice and twice[0] else "leaves a column without a name"
        if not columns:
            what = "is empty"
        raise InvalidData(
            f"{path.name}: its header {what}", "the first line names every column", code="header"
        )


def _parquet(path: Path) -> Iterator[Row]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError as error:
        raise Unavailable(
            f"reading {path.name} needs pyarrow", "pip install 'lftreg[parquet]'", code="no-pyarrow"
        ) from error
    number = 0
    try:
        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=4096):
                for row in batch.to_pylist():
                    number += 1
                    yield number, row
    except (pyarrow.ArrowException, ValueError) as error:
        raise InvalidData(
            f"{path.name} is no whole Parquet file: {error}", "write it again", code="not-parquet"
        ) from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}


def _lines(path: Path, file: BinaryIO, keep_ends: bool = False) -> Iterator[str]:
    """The lines of a UTF-8 file, none of them longer than LONGEST_LINE in memory."""
    number = 0
    while line := file.readline(LONGEST_LINE + 1):
        number += 1
        if len(line) > LONGEST_LINE:
            refuse_row(
                path, number, f"longer than {LONGEST_LINE // 2**20} MiB; does the file have line ends?"
            )
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise _not_utf8(f"{path.name}, line {number}", error) from error
        yield text if keep_ends else text.rstrip("\r\n")


def _chained(first: str, rest: Iterator[str]) -> Iterator[str]:
    if first:
        yield first
    yield from rest


def _refuse_large(path: Path) -> None:
    if path.stat().st_size > LARGEST_WHOLE:
        raise InvalidData(
            f"{path.name} is larger than {LARGEST_WHOLE // 2**20} MiB, and JSON has to be read as a whole",
            "write one object a line, as .jsonl",
            code="too-large",
        )


def _not_utf8(where: str, error: UnicodeDecodeError) -> InvalidData:
    return InvalidData(
        f"{where} is not UTF-8 text ({error.reason})", "save the file as UTF-8", code="not-utf8"
    )
