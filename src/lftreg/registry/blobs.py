"""Files by content. A blob is written beside its place, made durable, and renamed into it.

Equal content has one name and is stored once. A file under its final name is always whole, whatever
was killed and when; what a killed process leaves in the scratch folder is garbage and nothing else.
"""

from __future__ import annotations

import errno
import hashlib
import os
import queue
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from lftreg.errors import CheckFailed, StorageError
from lftreg.outputs import sync_folder
from lftreg.paths import Home
from lftreg.registry.records import Blob

CHUNK = 1 << 20
SENT_AT_ONCE = 64 * CHUNK


class Blobs:
    """The content-addressed files of a home."""

    def __init__(self, home: Home) -> None:
        self._home = home

    def path(self, sha256: str) -> Path:
        return self._home.blobs / sha256[:2] / sha256

    def put_bytes(self, content: bytes) -> tuple[str, int]:
        with self._writing() as (file, done):
            file.write(content)
            return done(hashlib.sha256(content).hexdigest()), len(content)

    def put_file(self, source: Path) -> tuple[str, int]:
        """Copy a file in, hashing while it is written. Returns its sha256 and its size."""
        digest = hashlib.sha256()
        size = 0
        with source.open("rb") as original, self._writing() as (file, done):
            while chunk := original.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                file.write(chunk)
            return done(digest.hexdigest()), size

    @contextmanager
    def streaming(self) -> Iterator[Stream]:
        """A blob that is made piece by piece: `write`, then `keep`. What is not kept is gone at the end."""
        with self._writing() as (file, done):
            stream = Stream(file, done)
            try:
                yield stream
            finally:
                stream.stop()

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """A folder for files in the making, gone at the end; what a killed process leaves is garbage."""
        try:
            self._home.scratch.mkdir(parents=True, exist_ok=True)
            folder = tempfile.TemporaryDirectory(dir=self._home.scratch)
        except OSError as error:
            raise _refused(error) from error
        with folder as name:
            yield Path(name)

    def open(self, sha256: str) -> Path:
        """The path of a blob that must be there. Raises CheckFailed where it is not."""
        path = self.path(sha256)
        if not path.is_file():
            raise CheckFailed(
                f"stored file {sha256[:12]} is missing from {self._home.blobs}",
                "`lftreg verify --all` tells what else is",
                code="missing-file",
            )
        return path

    def is_whole(self, sha256: str) -> bool:
        digest, piece = hashlib.sha256(), bytearray(4 * CHUNK)
        with self.path(sha256).open("rb", buffering=0) as file:
            while got := file.readinto(piece):
                digest.update(memoryview(piece)[:got])
        return digest.hexdigest() == sha256

    @contextmanager
    def _writing(self) -> Iterator[tuple[BinaryIO, _Done]]:
        try:
            self._home.scratch.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(dir=self._home.scratch)
        except OSError as error:
            raise _refused(error) from error
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                yield file, _Done(self, file, temporary)
        except OSError as error:
            raise _refused(error) from error
        finally:
            temporary.unlink(missing_ok=True)


class _Done:
    """Called with the sha256 once everything is written: makes the file durable and visible."""

    def __init__(self, blobs: Blobs, file: BinaryIO, temporary: Path) -> None:
        self._blobs, self._file, self._temporary = blobs, file, temporary

    def __call__(self, sha256: str) -> str:
        place = self._blobs.path(sha256)
        self._file.flush()
        os.fsync(self._file.fileno())
        place.parent.mkdir(parents=True, exist_ok=True)
        self._temporary.chmod(0o444)
        self._temporary.replace(place)
        sync_folder(place.parent)
        return sha256


class Stream:
    """Writes a piece while the one before is hashed in a thread of its own, each of which takes as long.

    While more than LATE bytes wait to be hashed `write` blocks. A piece belongs to the stream once it is given.
    """

    LATE = 12 * CHUNK

    def __init__(self, file: BinaryIO, done: _Done) -> None:
        self._file, self._done = file, done
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
        """Make the blob durable, under the name of its content."""
        return Blob(self._done(self.finished()), self._size)

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


def _refused(error: OSError) -> StorageError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    hint = "free some space; nothing was registered" if full else "check its permissions, or use --home"
    return StorageError(f"{error.filename or 'the home'} cannot be written: {error.strerror}", hint)
