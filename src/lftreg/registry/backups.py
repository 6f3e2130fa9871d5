"""Copies of the database that are made by themselves: one before each migration, `backups/registry-0003-TIME.db`."""

from __future__ import annotations

import os
import re
import sqlite3
import tempfile
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sqlalchemy import Connection

from lftreg.errors import StorageError, cannot_write
from lftreg.outputs import sync_folder
from lftreg.paths import Home
from lftreg.registry import engine as db

KEPT = 5  # beside the one that a migration makes, so that one which fails costs none of them
NAME = re.compile(r"registry-.+-(\d{8}T\d{6}\.\d+Z)\.db")


def before(home: Home, connection: Connection, schema: str) -> Path | None:
    """Copy a database that is about to leave `schema`, durably, and keep the newest copies only.

    The connection holds the database's one right to write, and has written nothing. Raises StorageError where the copy
    cannot be made. None where the database is not SQLite's.
    """
    database = db.file_of(connection.engine.url)
    if database is None:
        return None
    place = home.backups / f"registry-{schema}-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}.db"
    try:
        home.drafts.mkdir(parents=True, exist_ok=True)
        home.backups.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.drafts) as folder:
            with closing(sqlite3.connect(database)) as source:
                made = copy(source, Path(folder) / place.name)
            for old in _kept(home)[:-KEPT]:
                old.unlink(missing_ok=True)
            made.replace(place)
        sync_folder(place.parent)
    except (OSError, sqlite3.Error) as error:
        told = cannot_write("it", error) if isinstance(error, OSError) else db.as_ours(error)
        raise StorageError(
            f"the registry stays at schema {schema}: no backup could be made in {home.backups} before it moves on, as"
            f" {told.message}",
            told.hint,
            code=told.code,
        ) from error
    return place


def copy(source: Any, target: Path) -> Path:
    """Write a consistent copy, while others go on writing: one file, which needs no other to be read.

    `source` is an open sqlite3.Connection.
    """
    with closing(sqlite3.connect(target)) as written:
        source.backup(written)
    settle(target)
    return target


def settle(target: Path) -> None:
    """Make a database that nobody has open one file, which needs no other to be read, and durable."""
    database = sqlite3.connect(target)
    try:
        database.execute(
            "PRAGMA journal_mode=DELETE"
        )  # or it says why what waits beside it could not be taken in
    finally:
        database.close()
    handle = os.open(target, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _kept(home: Home) -> list[Path]:
    """Oldest first."""
    found = {path: match[1] for path in home.backups.iterdir() if (match := NAME.fullmatch(path.name))}
    return sorted(found, key=lambda path: found[path])
