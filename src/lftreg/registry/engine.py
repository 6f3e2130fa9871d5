"""The database's connection, and all that is SQLite's own.

Readers take a plain BEGIN and never wait; writers take BEGIN IMMEDIATE, so that what they read is
still true when they write (without it, two processes lose each other's updates). WAL lets both go
on side by side; a writer waits up to WAIT seconds for another.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DatabaseError, OperationalError

from lftreg.errors import LftregError, StorageError

WAIT = 30.0


def sqlite_url(path: Path) -> str:
    return f"sqlite:///{path}"


def make_engine(url: str) -> Engine:
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _on_connect)
        event.listen(engine, "begin", _on_begin)
    return engine


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    with told(), engine.connect() as connection, connection.begin():
        yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    with told(), engine.connect().execution_options(lftreg_writes=True) as connection, connection.begin():
        yield connection


@contextmanager
def told() -> Iterator[None]:
    """What a database refuses, as a sentence."""
    try:
        yield
    except (OperationalError, DatabaseError) as error:
        raise as_ours(error.orig if error.orig is not None else error) from error


def as_ours(error: BaseException) -> LftregError:
    text = str(error)
    for needle, message, hint in REFUSALS:
        if needle in text:
            return StorageError(message, hint)
    return StorageError(
        f"the registry's database failed: {text}", "`lftreg db backup` and `lftreg doctor` may tell more"
    )


REFUSALS = (
    ("locked", "the registry is busy: another process holds it", "try again; nothing was changed"),
    ("readonly", "the registry cannot be written", "check the permissions of its folder, or use --home"),
    ("unable to open", "the registry's database cannot be opened", "check its folder, or use --home"),
    ("full", "the disk is full; nothing was changed", "free some space"),
    ("not a database", "the registry's file is not a database", "restore it from a backup, or use --home"),
    ("malformed", "the registry's database is damaged", "restore it from a backup"),
    ("disk I/O", "the disk refused to write; nothing was changed", "check its space and permissions"),
)


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's sqlite3 must not begin anything by itself
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(WAIT * 1000)}")
    cursor.execute("PRAGMA foreign_keys=ON")
    try:
        cursor.execute("PRAGMA journal_mode=WAL")
        cursor.execute("PRAGMA synchronous=NORMAL")
    except sqlite3.OperationalError:
        pass  # a read-only home is read as it is
    cursor.close()


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("lftreg_writes")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
