"""Where lftreg keeps things. One folder, `LFTREG_HOME`, holds all of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one registry. Nothing is created before the first write."""

    root: Path

    @property
    def database(self) -> Path:
        return self.root / "registry.db"

    @property
    def blobs(self) -> Path:
        """Files by content: `blobs/ab/ab12...`, the name is the sha256 of what is inside."""
        return self.root / "blobs"

    @property
    def scratch(self) -> Path:
        """Unfinished writes; on the file system of the blobs, so that a rename publishes."""
        return self.root / "tmp"

    @property
    def runs(self) -> Path:
        """What runs are training or were: a folder each, with their checkpoints while they are not done."""
        return self.root / "runs"

    @property
    def logs(self) -> Path:
        return self.root / "logs"


def default_home() -> Home:
    """`LFTREG_HOME`, or the platform's place for an application's data."""
    chosen = os.environ.get("LFTREG_HOME")
    if chosen:
        return Home(Path(chosen).expanduser().absolute())
    import platformdirs  # 10 ms that `--help` need not pay

    return Home(Path(platformdirs.user_data_dir("lftreg", appauthor=False)))


def starter_folder() -> Path:
    """The embedded base model, shipped inside the package."""
    return Path(__file__).parent / "starter"
