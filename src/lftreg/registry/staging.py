"""Files in the making: written and made durable in a folder of their own, before anything names them.

The folder is held by a lock, which the system takes away when the process ends, however that happens. So a
folder that can be locked is what a killed process left, and garbage; nobody has to guess by its age.
"""

from __future__ import annotations

import hashlib
import os
import queue
import shutil
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from lftreg.errors import StorageError, cannot_write
from lftreg.outputs import at_once
from lftreg.registry.records import Blob

if sys.platform != "win32":
    import fcntl

CHUNK = 1 << 20
SENT_AT_ONCE = 64 * CHUNK
LOCK = ".lock"


@contextmanager
def staging(scratch: Path) -> Iterator[Stage]:
    """A stage in the folder `scratch`, gone at the end with all that was not moved away."""
    with told():
        folder, lock = _begin(scratch)
    try:
        yield Stage(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


class Stage:
    """A folder for files in the making. What is put here is durable, and a Blob that may be registered."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def put_bytes(self, content: bytes) -> Blob:
        with self._file() as (file, path):
            file.write(content)
            _settle(file, path)
        return Blob(hashlib.sha256(content).hexdigest(), len(content), path)

    def put_file(self, source: Path) -> Blob:
        """Copy a file in, hashing while it is written."""
        digest, size = hashlib.sha256(), 0
        with source.open("rb") as original, self._file() as (file, path):
            while chunk := original.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            _settle(file, path)
        return Blob(digest.hexdigest(), size, path)

    def put_all(self, contents: Sequence[Path | bytes]) -> list[Blob]:
        """Files and bytes, at once: a disk makes durable together what waits for it together."""

        def put(content: Path | bytes) -> Blob:
            return self.put_bytes(content) if isinstance(content, bytes) else self.put_file(content)

        return at_once(put, contents)

    def adopt(self, made: Path, sha256: str, size: int) -> Blob:
        """Make a file of this folder a blob, without another copy. Whoever wrote it has hashed it."""
        with told(), made.open("rb+") as file:
            _settle(file, made)
        return Blob(sha256, size, made)

    @contextmanager
    def streaming(self) -> Iterator[Stream]:
        """A blob that is made piece by piece: `write`, then `keep`."""
        with self._file() as (file, path):
            stream = Stream(file, path)
            try:
                yield stream
            finally:
                stream.stop()

    @contextmanager
    def _file(self) -> Iterator[tuple[BinaryIO, Path]]:
        with told():
            handle, name = tempfile.mkstemp(dir=self.folder)
            with os.fdopen(handle, "wb") as file:
                yield file, Path(name)


class Stream:
    """Writes a piece while the one before is hashed in a thread of its own, each of which takes as long.

    While more than LATE bytes wait to be hashed `write` blocks. A piece belongs to the stream once it is given.
    """

    LATE = 12 * CHUNK

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file, self._path = file, path
        self._digest = hashlib.sha256()
        self._size = self._sent = 0
        self._syncing = ThreadPoolExecutor(1, thread_name_prefix="lftreg-sync")
        self._synced: list[Future[None]] = []
        self._pieces: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._waiting, self._room = 0, threading.Condition()
        self._thread = threading.Thread(target=self._hash, name="lftreg-hasher", daemon=True)
        self._thread.start()

    def write(self, piece: Any) -> None:
        """Take a bytes-like piece. Raises OSError where it cannot be written."""
        view = memoryview(piece).cast("B")
        with self._room:
            self._room.wait_for(lambda: self._waiting <= self.LATE)
            self._waiting += len(view)
        self._pieces.put(view)
        self._file.write(view)
        self._size += len(view)
        if self._size - self._sent > SENT_AT_ONCE:  # to the disk, while there is more to compute
            self._sent = self._size
            self._file.flush()
            self._synced.append(self._syncing.submit(os.fsync, self._file.fileno()))

    def finished(self) -> str:
        """The sha256 of all that was written, once nothing more comes."""
        self.stop()
        for one in self._synced:
            one.result()  # a system tells of a failed write once, and to whoever asks first
        return self._digest.hexdigest()

    def keep(self) -> Blob:
        """Make what was written durable; whoever registers it moves it into place."""
        sha256 = self.finished()
        _settle(self._file, self._path)
        return Blob(sha256, self._size, self._path)

    def stop(self) -> None:
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()
            self._syncing.shutdown()  # before the file is closed

    def _hash(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._digest.update(piece)
            with self._room:
                self._waiting -= len(piece)
                self._room.notify()


def abandoned(scratch: Path) -> list[Path]:
    """What killed processes left in a scratch folder; what somebody works in is not among it."""
    try:
        found = sorted(scratch.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [path for path in found if not _in_use(path)]


def clear(path: Path) -> bool:
    """Remove what a killed process left, unless somebody works in it after all. Says whether it is gone."""
    if not path.is_dir():
        path.unlink(missing_ok=True)
        return True
    lock = _locked(path / LOCK, unknown=False)
    if lock is None:
        return False
    try:
        shutil.rmtree(path, ignore_errors=True)
    finally:
        os.close(lock)
    return not path.exists()


@contextmanager
def told() -> Iterator[None]:
    """What a disk refuses, as a sentence."""
    try:
        yield
    except OSError as error:
        raise _refused(error) from error


def _begin(scratch: Path) -> tuple[Path, int]:
    """A new folder, and the lock that holds it."""
    scratch.mkdir(parents=True, exist_ok=True)
    while True:
        folder = Path(tempfile.mkdtemp(dir=scratch))
        lock = _locked(folder / LOCK, unknown=True)
        if lock is not None:
            return folder, lock
        # Whoever clears up came between the two and took it for garbage, which it is by now.
        shutil.rmtree(folder, ignore_errors=True)


def _in_use(path: Path) -> bool:
    if not path.is_dir() or path.is_symlink():
        return False  # only stages are made here
    try:
        lock = os.open(path / LOCK, os.O_RDWR)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # another user's
    try:
        return not _lock(lock, unknown=False)
    finally:
        os.close(lock)


def _locked(path: Path, *, unknown: bool) -> int | None:
    """A file open and locked, made where it is not there; None where another has it, or took it away."""
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError:
        return None
    with suppress(FileNotFoundError):
        if _lock(handle, unknown=unknown) and os.path.samestat(os.fstat(handle), path.stat()):
            return handle
    os.close(handle)
    return None


def _lock(handle: int, *, unknown: bool) -> bool:
    """Whether the lock is ours now; `unknown` where locks cannot be had."""
    if sys.platform == "win32":
        return unknown
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return unknown
    return True


def _settle(file: BinaryIO, path: Path) -> None:
    """Everything written is on the disk, and stays as it is."""
    file.flush()
    os.fsync(file.fileno())
    path.chmod(0o444)


def _refused(error: OSError) -> StorageError:
    return cannot_write(error.filename or "the home", error)
