"""Where lftreg keeps things. One folder, `LFTREG_HOME`, holds all of it."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folder of one registry. Nothing is created before the first write.

    `shared` is a folder for the adapters' files that several homes have in common; it has to be there already.
    """

    root: Path
    shared: Path | None = None

    @property
    def database(self) -> Path:
        return self.root / "registry.db"

    @property
    def blobs(self) -> Path:
        """Files by content: `blobs/ab/ab12...`, the name is the sha256 of what is inside."""
        return self.shared or self.root / "blobs"

    @property
    def quarantine(self) -> Path:
        """Damaged blobs, set apart by `verify` and kept: on the file system of the blobs."""
        return (self.shared or self.root) / "quarantine"

    @property
    def scratch(self) -> Path:
        """Unfinished writes; on the file system of the blobs, so that a rename publishes."""
        return self.shared / "tmp" if self.shared else self.root / "tmp"

    @property
    def drafts(self) -> Path:
        """Unfinished writes of what stays in the home, on its file system."""
        return self.root / "tmp"

    @property
    def runs(self) -> Path:
        """What runs are training or were: a folder each, with their checkpoints while they are not done."""
        return self.root / "runs"

    @property
    def studies(self) -> Path:
        """The trials of sweeps, as Optuna keeps them."""
        return self.root / "studies.db"

    @property
    def exports(self) -> Path:
        """What other servers read, made from the blobs and made again where it is lost: `exports/vllm/<digest>`."""
        return self.root / "exports"

    @property
    def backups(self) -> Path:
        """Copies of the database from before it was moved to a newer schema."""
        return self.root / "backups"

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
