"""All that is SQLite's own.

Readers take a plain BEGIN and never wait; writers take BEGIN IMMEDIATE, so that what they read is
still true when they write (without it, two processes lose each other's updates). WAL lets both go
on side by side; a writer waits up to WAIT seconds for another.

What was committed is on the disk (synchronous=FULL, one fsync a commit): a version that was told as made outlives a
loss of power, and files are deleted only after what says that nothing needs them can no more be lost.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, make_url

from lftreg.errors import LftregError, StorageError
from lftreg.registry import readonly
from lftreg.registry.values import engine_of

WAIT = 30.0  # seconds
READER: Mapping[str, Any] = {}
WRITER: Mapping[str, Any] = {"lftreg_writes": True}

REFUSALS = (
    ("locked", "busy", "the registry is busy: another process holds it", "try again; nothing was changed"),
    ("readonly", *readonly.READ_ONLY),
    (
        "unable to open",
        "cannot-open",
        "the registry's database cannot be opened",
        "check the permissions of its folder and the space there, or use --home",
    ),
    ("is full", *readonly.FULL),
    ("SQLITE_IOERR_WRITE", *readonly.FULL),  # so it tells of a limit on the size of files
    ("SQLITE_IOERR_SHM", *readonly.FULL),  # it found no room for the file that its processes share
    (
        "not a database",
        "not-a-database",
        "the registry's file is not a database",
        "restore it from a backup, or use --home",
    ),
    ("malformed", "damaged", "the registry's database is damaged", "restore it from a backup"),
    (
        "disk I/O",
        "disk-failed",
        "the disk refused to write; nothing was changed",
        "check its space and permissions",
    ),
)


def sqlite_url(path: Path) -> str:
    return URL.create("sqlite", database=str(path)).render_as_string()


def file_of(url: str | URL) -> Path | None:
    """The file of a SQLite URL; None for another database, or one in memory."""
    parsed = make_url(url)
    path = parsed.database or ":memory:"
    no_path = path.startswith((":memory:", "file:"))
    return None if parsed.get_backend_name() != "sqlite" or no_path else Path(path)


def make_engine(url: URL) -> Engine:
    engine = engine_of(url)
    readonly.attend(engine)
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)
    return engine


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A write transaction without foreign keys: a batch migration would delete every child row."""
    with engine.connect().execution_options(**WRITER) as connection:
        raw: Any = connection.connection.dbapi_connection
        raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                yield connection
        finally:
            raw.execute("PRAGMA foreign_keys=ON")


def before_migration(connection: Connection) -> None:
    """Nothing is wanted of an empty file."""


def after_migration(connection: Connection) -> None:
    broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
    if broken is not None:
        raise RuntimeError(f"rows of {broken[0]} would point nowhere")


def after_ids(connection: Connection) -> None:
    """The next id follows the largest by itself."""


def refusal(error: BaseException) -> LftregError | None:
    if not isinstance(error, sqlite3.Error):
        return None
    text = f"{getattr(error, 'sqlite_errorname', '')} {error}"
    for needle, code, message, hint in REFUSALS:
        if needle in text:
            return StorageError(message, hint, code=code)
    return None


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # Python's sqlite3 must not begin anything by itself
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout={int(WAIT * 1000)}")
    cursor.execute("PRAGMA foreign_keys=ON")
    cursor.execute("PRAGMA synchronous=FULL")
    cursor.execute("PRAGMA fullfsync=ON")  # macOS: past the disk's own cache; nothing elsewhere
    with suppress(sqlite3.OperationalError):  # a read-only home is read as it is
        cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _on_begin(connection: Connection) -> None:
    writes = connection.get_execution_options().get("lftreg_writes")
    raw: Any = (
        connection.connection.dbapi_connection
    )  # by itself: SQLAlchemy takes longer to begin than to ask
    raw.execute("BEGIN IMMEDIATE" if writes else "BEGIN")
