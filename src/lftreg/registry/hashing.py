"""Reading every file once, several at a time: hashing lets other threads run."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from lftreg.registry.blobs import Blobs

AT_ONCE = 1000
Identity = tuple[int, int, int]  # inode, time of the last change in ns, size
Listener = Callable[[str, int, int, int, int], None]  # what is done; files and bytes: so many of so many


@dataclass(frozen=True, slots=True)
class Hashed:
    """What a file was found to be. `bytes` is None where it was not read to its end, `identity` where it is missing."""

    whole: bool
    bytes: int | None
    identity: Identity | None
    error: str | None = None

    @property
    def missing(self) -> bool:
        return self.identity is None

    @property
    def changed(self) -> bool:
        return not self.whole and self.identity is not None and self.error is None


def silent(doing: str, files: int, of_files: int, size: int, of_size: int) -> None:
    """Nobody listens."""


def identity(path: Path) -> Identity | None:
    """What changes when a file is written to or replaced; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def hash_all(blobs: Blobs, names: Sequence[str], listen: Listener = silent) -> dict[str, Hashed]:
    """What the files of these contents are. Whoever interrupts it does not wait for the rest."""
    reader = _Reader(blobs, names, listen)
    found: dict[str, Hashed] = {}
    pool = ThreadPoolExecutor(min(8, os.cpu_count() or 1), thread_name_prefix="lftreg-verify")
    try:
        for at in range(0, len(names), AT_ONCE):
            some = names[at : at + AT_ONCE]
            found.update(zip(some, pool.map(reader.read, some), strict=True))
    finally:
        reader.stopped = True
        pool.shutdown(cancel_futures=True)
    return found


class _Reader:
    """Reads files and counts what it read."""

    def __init__(self, blobs: Blobs, names: Sequence[str], listen: Listener) -> None:
        self._blobs, self._listen = blobs, listen
        self._lock = threading.Lock()
        self._files, self._of_files = 0, len(names)
        self._size, self._of_size = 0, 0
        if listen is not silent:
            self._of_size = sum(found[2] for name in names if (found := identity(blobs.path(name))))
        self.stopped = False

    def read(self, name: str) -> Hashed:
        path = self._blobs.path(name)
        was = identity(path)
        size = 0

        def heard(piece: int) -> None:
            nonlocal size
            if self.stopped:
                raise InterruptedError
            size += piece
            self._count(0, piece)

        try:
            whole = was is not None and self._blobs.is_whole(name, heard)
        except FileNotFoundError:  # it went while we looked
            return Hashed(False, None, None)
        except OSError as error:
            return Hashed(False, None, was, error.strerror or str(error))
        finally:
            self._count(1, 0)
        return Hashed(whole, None if was is None else size, was)

    def _count(self, files: int, size: int) -> None:
        with self._lock:
            self._files += files
            self._size += size
            self._listen("hashing", self._files, self._of_files, self._size, self._of_size)
