"""Files by content. A blob is staged, made durable, and moved into place by whoever registers it.

Equal content has one name and is stored once. A file under its final name is whole, whatever was killed and
when. It gets that name, and loses it, within transactions that write, which come one after the other: so no
file is taken away that a row names, and none is named that is not there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from lftreg.errors import CheckFailed, StorageError
from lftreg.outputs import sync_folders
from lftreg.paths import Home
from lftreg.registry.records import Blob
from lftreg.registry.staging import CHUNK, Stage, staging, told

_FIGURES = frozenset("0123456789abcdef")


class Blobs:
    """The content-addressed files of a home, or of a folder that homes share.

    In a folder with the setgid bit the whole group may write: folders made there are as open as it is.
    """

    def __init__(self, home: Home) -> None:
        self._home = home

    @property
    def scratch(self) -> Path:
        return self._home.scratch

    def path(self, sha256: str) -> Path:
        return self._home.blobs / sha256[:2] / sha256

    @property
    def owner(self) -> Path:
        """The file that says which database the others belong to."""
        return self._home.blobs / ".registry"

    def staging(self) -> AbstractContextManager[Stage]:
        """A place for files in the making, gone at the end with all that was not registered.

        What a killed process leaves of it is garbage, and known as such.
        """
        self.must_be_there()
        with told():
            make_folder(self._home.scratch, self._home.scratch.parent)
        return staging(self._home.scratch)

    def place(self, blobs: Sequence[Blob]) -> list[str]:
        """Move staged blobs to where they are found, in a transaction that writes rows which name them.

        Equal content that is there is replaced, so that a damaged file heals. Returns the sha256 of those of which
        nothing was there.
        """
        fresh, changed = [], set()
        with told():
            for blob in blobs:
                place = self.path(blob.sha256)
                if not place.exists():
                    fresh.append(blob.sha256)
                    if not place.parent.is_dir():
                        make_folder(place.parent, self._home.scratch)
                        changed.add(place.parent.parent)
                blob.staged.replace(place)
                changed.add(place.parent)
            sync_folders(changed)
        return fresh

    def open(self, sha256: str, what: str = "a stored file") -> Path:
        """The path of a blob that must be there. Raises CheckFailed, with what it is, where it is not."""
        path = self.path(sha256)
        if path.is_file():
            return path
        self.must_be_there()
        apart = self.apart(sha256)
        if apart is not None:
            raise CheckFailed(
                f"{what} is damaged: it was set apart as {apart}",
                "make or import the same content again, which heals it; `lftreg verify --all` tells what else is",
                code="changed-file",
            )
        raise CheckFailed(
            f"{what} is missing: there is no {sha256[:12]} among the registry's blobs",
            "make or import the same content again; `lftreg verify --all` tells what else is missing",
            code="missing-file",
        )

    def read(self, sha256: str) -> bytes | None:
        """What is stored under a sha256, or None where it is lost."""
        try:
            return self.path(sha256).read_bytes()
        except OSError:
            return None

    def is_whole(self, sha256: str, heard: Callable[[int], None] | None = None) -> bool:
        """Whether a file is what its name says. `heard` is told of every piece that was read, in bytes."""
        digest = hashlib.sha256()
        with self.path(sha256).open("rb", buffering=0) as file:
            piece = bytearray(min(4 * CHUNK, os.fstat(file.fileno()).st_size + 1))
            while got := file.readinto(piece):
                digest.update(memoryview(piece)[:got])
                if heard is not None:
                    heard(got)
        return digest.hexdigest() == sha256

    def must_be_there(self) -> None:
        """Raises StorageError where a shared folder is not: to make another would part a team's files."""
        if self._home.shared is not None and not self._home.shared.is_dir():
            raise StorageError(
                f"the folder of the adapters' files is not there: {self._home.shared}",
                "is it mounted? otherwise make it, or change LFTREG_BLOBS",
            )

    def everything(self) -> Iterator[os.DirEntry[str]]:
        """Every file under the name of a content."""
        try:
            folders = list(os.scandir(self._home.blobs))
        except FileNotFoundError:
            return
        for folder in folders:
            if len(folder.name) != 2 or not folder.is_dir(follow_symlinks=False):
                continue  # a shared folder has others beside them
            with os.scandir(folder.path) as entries:
                yield from (entry for entry in entries if is_sha256(entry.name))

    def sizes(self) -> Iterator[int]:
        """The bytes of every file; one that is collected meanwhile is none."""
        for entry in self.everything():
            with suppress(FileNotFoundError):
                yield entry.stat().st_size

    def any(self) -> bool:
        """Whether there is a file."""
        return next(self.everything(), None) is not None

    def apart(self, sha256: str) -> Path | None:
        """Where a damaged file that should be `sha256` was set apart, the first time."""
        path = self._home.quarantine / sha256
        return path if path.exists() else None

    def set_apart(self, sha256: str) -> Path:
        """Move a damaged file out of the way, where it is kept. Within a transaction that writes."""
        with told():
            make_folder(self._home.quarantine, self._home.scratch)
            target, times = self._home.quarantine / sha256, 0
            while target.exists():
                times += 1
                target = self._home.quarantine / f"{sha256}.{times}"
            shutil.move(self.path(sha256), target)
            sync_folders([self._home.quarantine, self._home.quarantine.parent])
        return target


def make_folder(folder: Path, scratch: Path) -> None:
    """Make a folder, as open as the one it stands in where a group shares that: a umask would shut the others out.

    It is made in `scratch`, so that a killed process leaves none that is still shut.
    """
    if folder.is_dir():
        return
    if not folder.parent.is_dir() or not folder.parent.stat().st_mode & stat.S_ISGID:
        folder.mkdir(parents=True, exist_ok=True)
        return
    make_folder(scratch, scratch.parent)
    for last in (False, False, True):  # whoever clears up may take the draft for garbage
        draft = Path(tempfile.mkdtemp(dir=scratch))
        try:
            draft.chmod(stat.S_IMODE(folder.parent.stat().st_mode))
            draft.rename(folder)
        except OSError:
            with suppress(OSError):
                draft.rmdir()
            if last and not folder.is_dir():
                raise
        if folder.is_dir():  # ours, or that of another who was quicker
            return


def is_sha256(name: str) -> bool:
    return len(name) == 64 and set(name) <= _FIGURES
