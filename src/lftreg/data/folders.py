"""Which files of a folder hold data, and which split a file belongs to by its name."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lftreg.data.formats import READERS
from lftreg.errors import InvalidData, StorageError
from lftreg.plugins.types import Split

TEXTS = (".txt", ".md")
SPLIT_NAMES: Mapping[str, Split] = {
    "train": "train", "validation": "validation", "valid": "validation", "val": "validation",
    "dev": "validation", "test": "test",
}  # fmt: skip
# What describes a dataset and is none of its rows.
NO_ROWS = frozenset(
    {"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json", "config.json"}
)


@dataclass(frozen=True, slots=True)
class Folder:
    """The files of a folder that are read, in order, and how many others there are.

    `texts` says that each is a text of its own; `hidden` and `empty` count what was left out.
    """

    files: tuple[Path, ...]
    texts: bool
    hidden: int = 0
    empty: int = 0

    @property
    def left_out(self) -> str:
        """What was left out, in words; "" for nothing."""
        counts = {"hidden": self.hidden, "empty": self.empty}
        return " and ".join(f"{count} {what}" for what, count in counts.items() if count)


def look_through(folder: Path) -> Folder:
    """The files of a folder and all below it. Those with rows go before texts.

    Hidden files and folders are not looked at. Raises InvalidData where there is nothing to read.
    """
    found: list[Path] = []
    hidden = 0
    for top, folders, names in os.walk(folder, onerror=_unreadable):
        hidden += sum(name.startswith(".") for name in (*folders, *names))
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(top) / name for name in names if not name.startswith(".")]
    files = sorted(
        (path for path in found if path.is_file()), key=lambda path: path.relative_to(folder).parts
    )
    rows = [path for path in files if path.suffix.lower() in READERS and path.name not in NO_ROWS]
    texts = [path for path in files if path.suffix.lower() in TEXTS]
    chosen = rows or texts
    full = tuple(path for path in chosen if path.stat().st_size)
    if not full:
        held = f"{len(files)} files, none of them" if files else "no file, neither"
        raise InvalidData(
            f"the folder {folder} holds {held} text or rows",
            f"texts are {' and '.join(TEXTS)}, rows are {', '.join(READERS)}",
            code="empty-folder",
        )
    return Folder(full, not rows, hidden, len(chosen) - len(full))


def split_of(path: Path, root: Path) -> Split | None:
    """The split that a file is named for, by its own name or else the nearest folder's below `root`."""
    for part in reversed(path.relative_to(root).parts):
        words = re.split(r"[^a-z]+", part.lower())
        named = [SPLIT_NAMES[word] for word in words if word in SPLIT_NAMES]
        if named:
            return named[0]
    return None


def _unreadable(error: OSError) -> None:
    raise StorageError(
        f"{error.filename} cannot be read: {error.strerror}", "check its permissions"
    ) from error
