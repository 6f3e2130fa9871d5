"""What was asked for as files, and files as rows that remember where they came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from lftreg.data.folders import Folder, look_through, split_of
from lftreg.data.formats import LARGEST_WHOLE, read_rows, refuse_row
from lftreg.data.hub import fetch_dataset
from lftreg.data.shapes import SHAPES, Shape, find_shape
from lftreg.data.wanted import Wanted
from lftreg.errors import InvalidData, StorageError
from lftreg.plugins.types import Example, Split

Stamp = tuple[str, int, int]  # a file's path, size and time of writing


@dataclass(frozen=True, slots=True)
class Source:
    """One file, or one folder of texts, as it was understood: the column of each role, and how many rows it holds.

    `name` is what it is called in messages, `split` the split that its file is named for. `sha256` is of the bytes
    that were read; of a folder of texts it is of the names and digests of its files. `left_out` tells in
    words which files of its folder were not read.
    """

    path: Path
    columns: Mapping[str, str]
    rows: int
    name: str = ""
    weight: float = 1.0
    sha256: str = ""
    split: Split | None = None
    files: int = 1
    left_out: str = ""
    stamps: tuple[Stamp, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether what is there now has another content. Files that look untouched are not read again."""
        try:
            files = look_through(self.path).files if self.path.is_dir() else (self.path,)
            if _stamps(files) == self.stamps:
                return False
            return _digest(self.path, files) != self.sha256
        except (OSError, StorageError, InvalidData):
            return True


@dataclass(frozen=True, slots=True)
class Found:
    """A row, the split that it names itself, and the one that its file is named for."""

    example: Example
    split: Split | None = None
    named: Split | None = None
    tested: bool = False  # whether the files beside it hold the test rows
    validated: bool = False
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    name: str
    folder: Folder | None = None
    split: Split | None = None


def read_wanted(
    wanted: Wanted, columns: Mapping[str, str], shapes: Sequence[tuple[str, ...]] = SHAPES
) -> tuple[list[Source], list[Found]]:
    """The files of one --data, and their rows, each file of one of `shapes`.

    Raises InvalidData that names the first bad row.
    """
    files, left_out = _files_of(wanted)
    named = {file.split for file in files}
    sources: list[Source] = []
    rows: list[Found] = []
    for file in files:
        source, found = _texts(file) if file.folder and file.folder.texts else _rows(file, columns, shapes)
        sources.append(replace(source, weight=wanted.weight, split=file.split))
        rows += [
            replace(
                row,
                named=file.split,
                tested="test" in named,
                validated="validation" in named,
                weight=wanted.weight,
            )
            for row in found
        ]
    sources[0] = replace(sources[0], left_out=left_out)
    return sources, rows


def _files_of(wanted: Wanted) -> tuple[list[_File], str]:
    """The files that are meant, and what was left out of their folder."""
    if wanted.path is not None and not wanted.path.is_dir():
        return [_File(wanted.path, wanted.path.name)], ""
    if wanted.path is None:
        root = fetch_dataset(wanted.hub, wanted.revision)
        name = f"hub:{wanted.hub}@{root.name[:12]}"
    else:
        root, name = wanted.path, wanted.path.resolve().name
    folder = look_through(root)
    if folder.texts:
        if wanted.path is None:
            raise InvalidData(
                f"dataset {wanted.hub!r} holds no rows that can be read", "choose another", code="no-rows"
            )
        return [_File(root, f"{name}/", folder)], folder.left_out
    return [
        _File(path, f"{name}/{path.relative_to(root).as_posix()}", None, split_of(path, root))
        for path in folder.files
    ], folder.left_out


def _rows(
    file: _File, columns: Mapping[str, str], shapes: Sequence[tuple[str, ...]]
) -> tuple[Source, list[Found]]:
    before = _stamps([file.path]) if file.path.is_file() else ()
    shape: Shape | None = None
    rows: list[Found] = []
    for number, row in read_rows(file.path):
        try:
            shape = shape or find_shape(row, columns, shapes)
        except ValueError as error:
            refuse_row(
                file.path,
                number,
                str(error),
                "tell which is which: --map prompt=COLUMN --map response=COLUMN",
            )
        try:
            example = replace(shape.example(row), origin=f"{file.path.name}, row {number}")
            rows.append(Found(example, shape.split(row)))
        except ValueError as error:
            refuse_row(file.path, number, str(error))
    return _sealed(file, shape.columns if shape else {}, len(rows), [file.path], before), rows


def _texts(file: _File) -> tuple[Source, list[Found]]:
    assert file.folder is not None
    before = _stamps(file.folder.files)
    rows = [
        Found(replace(Example.passage(text), origin=f"{file.name}{path.relative_to(file.path).as_posix()}"))
        for path in file.folder.files
        for text in _text_in(path)
    ]
    return _sealed(file, {"text": "text"}, len(rows), file.folder.files, before), rows


def _text_in(path: Path) -> Iterator[str]:
    """The text of a file, if there is more in it than spaces."""
    if path.stat().st_size > LARGEST_WHOLE:
        raise InvalidData(
            f"{path.name} is larger than {LARGEST_WHOLE // 2**20} MiB",
            "cut it into several",
            code="too-large",
        )
    try:
        text = path.read_bytes().decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise InvalidData(
            f"{path.name} is not UTF-8 text ({error.reason})", "save the file as UTF-8", code="not-utf8"
        ) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "check its permissions") from error
    if text:
        yield text


def _sealed(
    file: _File, columns: Mapping[str, str], rows: int, files: Sequence[Path], before: tuple[Stamp, ...]
) -> Source:
    """A source with the digest of what was read: a file that was written to meanwhile is refused."""
    try:
        digest = _digest(file.path, files)
        after = _stamps(files)
    except OSError as error:
        raise StorageError(
            f"{file.path} cannot be read: {error.strerror}", "check its permissions"
        ) from error
    if after != before:
        raise InvalidData(
            f"{file.name} was written to while it was read", "wait until it is whole", code="file-changed"
        )
    return Source(file.path, columns, rows, file.name, sha256=digest, files=len(files), stamps=after)


def _stamps(files: Sequence[Path]) -> tuple[Stamp, ...]:
    return tuple((str(path), (stat := path.stat()).st_size, stat.st_mtime_ns) for path in files)


def _digest(path: Path, files: Sequence[Path]) -> str:
    if not path.is_dir():
        return _sha256(path)
    listed = "".join(f"{file.relative_to(path).as_posix()}\0{_sha256(file)}\n" for file in files)
    return hashlib.sha256(listed.encode("utf-8", "surrogateescape")).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
