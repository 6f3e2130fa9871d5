"""Files and folders that appear whole or not at all, whatever went wrong while they were written."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lftreg.errors import StorageError, UsageError


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
