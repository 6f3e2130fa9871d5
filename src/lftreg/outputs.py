"""Files and folders that appear whole or not at all, whatever went wrong while they were written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from lftreg.errors import STORAGE_CODES, StorageError, UsageError

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def whole_output(output: Path, kind: str = "path") -> Iterator[Path]:
    """A path beside `output` to write a file or a folder to; it takes its place once all went well.

    Nothing is left behind otherwise, Ctrl-C included. `kind` is what to call it in a hint. Raises UsageError
    where something is there already, StorageError where the disk is full or may not be written.
    """
    if output.exists() or output.is_symlink():
        raise UsageError(f"{output} is there already", f"give a {kind} that is not", code="exists")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".lftreg-") as scratch:
            place = Path(scratch) / "whole"
            yield place
            place.rename(output)
    except OSError as error:
        raise StorageError(
            f"{output} cannot be written: {error.strerror or error}",
            "free some space, or choose another --output; nothing is left behind",
            code=STORAGE_CODES.get(error.errno or 0),
        ) from error


def write_at(handle: int, content: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of `content` at a place of an open file; a write may take less than it is given."""
    view = memoryview(content).cast("B")
    done = 0
    while done < len(view):
        done += os.pwrite(handle, view[done:], offset + done)


@contextmanager
def opened(path: Path) -> Iterator[int]:
    """A new file to write by position."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666)
    try:
        yield handle
    except BaseException:
        with contextlib.suppress(OSError):  # the first error is the one to tell
            os.close(handle)
        raise
    os.close(handle)  # some disks tell only here that they are full


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable, such as after a rename."""
    if os.name == "nt":
        return  # Windows cannot open a folder, and needs not
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_durable(folder: Path) -> None:
    """Make a folder and those above it, whose names a loss of power does not take away."""
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    for one in made:
        with contextlib.suppress(PermissionError):  # a folder of others may be passed through, not read
            sync_folder(one.parent)


def sync_folders(folders: Collection[Path]) -> None:
    """The same of several, at once."""
    at_once(sync_folder, list(folders))


def at_once(do: Callable[[T], R], items: Sequence[T]) -> list[R]:
    """What is done with each, in their order, up to four of them at a time: a disk writes what waits for it together.

    The last is done in this thread: to start one takes as long as to write a small file.
    """
    if len(items) < 2:
        return [do(item) for item in items]
    with ThreadPoolExecutor(min(3, len(items) - 1), thread_name_prefix="lftreg-disk") as pool:
        others = pool.map(do, items[:-1])
        last = do(items[-1])
        return [*others, last]
