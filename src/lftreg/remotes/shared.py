"""A folder that several people see, such as one of a file server: the same files as on the hub, and no history.

Files are replaced one by one, the manifest last; whoever reads in between finds that it does not fit and says so.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock, Timeout

from lftreg.errors import InvalidData, LftregError, NotFound, StorageError, Unavailable, UsageError
from lftreg.plugins.types import Errand, Parcel, Sent, Taken
from lftreg.tensors.private import copy, opened_regular

LOCK = ".lftreg.lock"


def push(parcel: Parcel) -> Sent:
    """Write a parcel into a folder, made where there is none.

    Raises UsageError for what a folder cannot do, LftregError where others changed what it would replace.
    """
    for word, given in (
        ("--tag", parcel.tag),
        ("--private", parcel.private),
        ("--create-pr", parcel.create_pr),
    ):
        if given:
            raise UsageError(f"a folder knows no {word}", "leave it out; another folder is another place")
    folder = _path(parcel.place)
    files = {name: _sha256(path) for name, path in parcel.files.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / LOCK, timeout=parcel.patience.whole):
            there = {name: _sha256(folder / name) for name in files if (folder / name).is_file()}
            changed = [name for name in files if there.get(name) != files[name]]
            replaced = [name for name in changed if name in there]
            if replaced and not parcel.force and _content(there) != parcel.known:
                raise LftregError(
                    f"{folder} holds {' and '.join(replaced)} that this registry did not put there",
                    "--force replaces them, `lftreg pull` takes them in first",
                    code="remote-changed",
                )
            sent = sum(_replace(parcel, folder, name) for name in changed)
    except Timeout as error:
        raise Unavailable(f"{folder} is being written by somebody else", "try again", code="busy") from error
    except OSError as error:
        raise StorageError(
            f"{folder} cannot be written: {error.strerror or error}", "check its permissions and its space"
        ) from error
    return Sent(_content(files), folder.as_uri(), not changed, sent, "")


def pull(errand: Errand) -> Taken:
    """Copy files out of a folder. Raises NotFound where there is none, InvalidData for links and devices."""
    if errand.revision is not None:
        raise UsageError("a folder has no revisions", "leave the @ out")
    folder = _path(errand.place)
    if not folder.is_dir():
        raise NotFound(f"there is no folder {folder}", "is it mounted?", code="unknown-folder")
    files: dict[str, str] = {}
    for name, largest in errand.wants.items():
        path = folder / name
        if os.path.lexists(path) and (largest is None or path.lstat().st_size <= largest):
            files[name] = _read(path)
    commit = _content(files)
    if errand.have(commit):
        return Taken(commit, folder.as_uri(), {})
    for name, sha256 in files.items():
        if _read(folder / name, errand.into / name) != sha256:
            raise InvalidData(
                f"{name} was written while it was read", "somebody pushes to it; try again", code="changed"
            )
    return Taken(commit, folder.as_uri(), files)


def _read(path: Path, target: Path | None = None) -> str:
    """The sha256 of a regular file, no link and no device, copied to `target` where one is given."""
    with opened_regular(path) as (handle, seen):
        return copy(handle, seen, path, target, {})


def _path(place: str) -> Path:
    if not place or "\0" in place:
        raise InvalidData("a folder needs a path", "folder:/srv/share/support", code="usage")
    return Path(place).expanduser().absolute()


def _replace(parcel: Parcel, folder: Path, name: str) -> int:
    size = parcel.files[name].stat().st_size
    parcel.told(f"sending {name}", 0, size)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".lftreg-") as scratch:
        draft = Path(scratch) / name
        shutil.copyfile(parcel.files[name], draft)
        draft.replace(folder / name)
    parcel.told(f"sending {name}", size, size)
    return size


def _content(files: Mapping[str, str]) -> str:
    """What stands for a commit: a digest of names and digests."""
    lines = "".join(f"{name} {sha256}\n" for name, sha256 in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
