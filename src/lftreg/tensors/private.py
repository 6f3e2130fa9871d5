"""A private copy of a file that somebody else may be writing to: what is checked is what is kept.

A file is opened once, without following a link and without waiting for a FIFO, and its kind is asked of the open
handle. While it is copied its sha256 is taken in a thread of its own, and its numbers are looked at.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

from lftreg.errors import STORAGE_CODES, InvalidData, NotFound, StorageError
from lftreg.tensors.finite import Finite
from lftreg.tensors.header import (
    LARGEST_METADATA,
    LONGEST_HEADER,
    MOST_READ,
    Header,
    TensorInfo,
    parse_header,
    read_length,
)

CHUNK = 2 << 20  # stays in a processor's cache between the hash and the look
LARGEST = 64 * 2**30  # bytes; a LoRA of rank 64 on a model of 70 B parameters has two of them
_KINDS = (
    (stat.S_ISLNK, "a link", "link"), (stat.S_ISDIR, "a folder", "folder"), (stat.S_ISFIFO, "a FIFO", "fifo"),
    (stat.S_ISCHR, "a device", "device"), (stat.S_ISBLK, "a device", "device"), (stat.S_ISSOCK, "a socket", "socket"),
)  # fmt: skip


@contextmanager
def opened_regular(path: Path, largest: int = LARGEST) -> Iterator[tuple[int, os.stat_result]]:
    """A handle of a regular file of one name, and what it looked like. Raises InvalidData, NotFound, StorageError."""
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    try:
        _check_kind(path, os.lstat(path))  # a device is not even opened
        handle = os.open(path, flags)
    except FileNotFoundError as error:
        raise NotFound(
            f"{path.parent} has no {path.name}", "is it a PEFT adapter?", code="no-adapter"
        ) from error
    except OSError as error:
        raise StorageError(
            f"{path.name} cannot be opened: {error.strerror}", "check its permissions", code="unreadable"
        ) from error
    try:
        seen = os.fstat(handle)
        _check_kind(path, seen)
        _check_size(path, handle, seen, largest)
        yield handle, seen
    finally:
        os.close(handle)


def read_private(path: Path, largest: int, code: str) -> bytes:
    """A small file whole. Raises InvalidData, with `code` where it is larger than `largest`."""
    with opened_regular(path) as (handle, seen):
        if seen.st_size > largest:
            _refuse(f"{path.name} is larger than {largest:,} bytes", "nothing was registered", code)
        content = _read(handle, largest + 1)
        if len(content) != seen.st_size:
            refuse_changed(path)
        return content


def header_of_handle(handle: int, size: int, path: Path, *, ours: bool = False) -> Header:
    """The header of an open file. `path` names it in errors. One of `ours` may have as much metadata as it needs."""
    longest, metadata = (MOST_READ, MOST_READ) if ours else (LONGEST_HEADER, LARGEST_METADATA)
    start = os.pread(handle, 8, 0)
    length = read_length(start, size, path, lambda at, many: os.pread(handle, many, at), longest)
    return parse_header(path, os.pread(handle, length, 8), size, metadata)


def copy(
    handle: int, seen: os.stat_result, path: Path, target: Path | None, tensors: Mapping[str, TensorInfo]
) -> str:
    """Copy an open file to a new one, where `target` is given, and return its sha256.

    Raises InvalidData for a NaN or an infinity among `tensors`, and where the file has changed meanwhile.
    """
    finite = Finite(tensors, path)
    digest = hashlib.sha256()
    buffers = [memoryview(bytearray(CHUNK)) for _ in range(3)]
    hashing: list[Future[None] | None] = [None] * len(buffers)
    at = turn = 0
    out = None
    try:
        out = None if target is None else target.open("xb", buffering=0)
        with ThreadPoolExecutor(1, thread_name_prefix="lftreg-hasher") as pool:
            while at < seen.st_size:
                if (done := hashing[turn]) is not None:
                    done.result()
                whole = finite.end(at, min(at + CHUNK, seen.st_size))
                view = buffers[turn][: whole - at]
                _fill(handle, view, at, path)
                hashing[turn] = pool.submit(digest.update, view)
                finite.look(view, at)
                if out is not None:
                    _write(out.fileno(), view)
                at, turn = whole, (turn + 1) % len(buffers)
    except OSError as error:
        raise StorageError(
            f"{path.name} cannot be copied: {error.strerror}",
            "free some space; nothing was registered",
            code=STORAGE_CODES.get(error.errno or 0),
        ) from error
    finally:
        if out is not None:
            out.close()
    if _look(os.fstat(handle)) != _look(seen):
        refuse_changed(path)
    return digest.hexdigest()


def refuse_changed(path: Path) -> NoReturn:
    _refuse(
        f"{path.name} changed while it was read",
        "wait until whoever writes it is done; nothing was registered",
        "changed-meanwhile",
    )


def _look(seen: os.stat_result) -> tuple[int, ...]:
    return seen.st_ino, seen.st_size, seen.st_mtime_ns


def _check_kind(path: Path, seen: os.stat_result) -> None:
    for is_kind, word, code in _KINDS:
        if is_kind(seen.st_mode):
            _refuse(f"{path.name} is {word}, not a file", "links, folders and devices do not come in", code)
    if seen.st_nlink > 1:
        _refuse(
            f"{path.name} is a hard link: the same file has another name, by which it can be changed",
            "copy the folder (cp -r), and import the copy",
            "hard-link",
        )


def _check_size(path: Path, handle: int, seen: os.stat_result, largest: int) -> None:
    thin = seen.st_size > CHUNK and getattr(seen, "st_blocks", seen.st_size) * 512 < seen.st_size // 2
    if thin and hasattr(os, "SEEK_HOLE") and os.lseek(handle, 0, os.SEEK_HOLE) < seen.st_size:
        _refuse(
            f"{path.name} says that it has {seen.st_size:,} bytes, and most of them are not on the disk",
            "cp --sparse=never makes a whole file of it, if you trust it",
            "sparse-file",
        )
    if seen.st_size > largest:
        _refuse(
            f"{path.name} has {seen.st_size:,} bytes; at most {largest:,} come in",
            "is it an adapter, or a whole model?",
            "file-size",
        )


def _read(handle: int, most: int) -> bytes:
    pieces = []
    while most and (piece := os.read(handle, min(most, CHUNK))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _fill(handle: int, view: memoryview, at: int, path: Path) -> None:
    done = 0
    while done < len(view):
        got = os.preadv(handle, [view[done:]], at + done)
        if not got:
            refuse_changed(path)
        done += got


def _write(handle: int, view: memoryview) -> None:
    done = 0
    while done < len(view):
        done += os.write(handle, view[done:])


def _refuse(message: str, hint: str, code: str) -> NoReturn:
    raise InvalidData(message, hint, code=code)
