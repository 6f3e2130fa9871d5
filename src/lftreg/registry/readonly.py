"""Reading a SQLite database where nothing can be written: somebody else's folder, a snapshot, a disc, a full disk.

To read a database in WAL mode SQLite wants to write beside it: what is waiting there, and who is reading. Where that
cannot be, and nothing waits, the file alone is all there is and can be read as it is ("immutable"). As somebody who may
write might begin to, no such connection is used for a second transaction.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sqlalchemy import Connection, Engine, event

from lftreg.errors import StorageError

READ_ONLY = (
    "read-only",
    "the registry cannot be written",
    "check the permissions of its folder, or use --home",
)
FULL = ("disk-full", "the disk is full; nothing was changed", "free some space")
# What SQLite says of a file that it may not make, and of one that it has no room for.
REFUSED = {
    "SQLITE_READONLY": READ_ONLY,
    "SQLITE_CANTOPEN": READ_ONLY,
    "SQLITE_IOERR_SHM": FULL,
    "SQLITE_FULL": FULL,
}


def attend(engine: Engine) -> None:
    """Let an engine read also where it cannot write."""
    event.listen(engine, "do_connect", _connect)
    event.listen(engine, "checkin", _on_checkin)
    event.listen(engine, "begin", _on_begin)


def _connect(dialect: Any, record: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    record.info.pop("frozen", None)
    connection = dialect.connect(*arguments, **options)
    try:
        connection.execute("SELECT 1 FROM sqlite_master").fetchone()
    except sqlite3.OperationalError as error:
        connection.close()
        path = Path(arguments[0])
        why = next((why for name, why in REFUSED.items() if error.sqlite_errorname.startswith(name)), None)
        if why is None or not _can_be_read(path):
            raise
        if _waits(path):
            raise StorageError(
                f"{path} cannot be read where nothing can be written: {path.name}-wal beside it holds what was not"
                " worked in yet",
                "open it once where it can be written, for which a copy of both files will do",
                code="unfinished",
            ) from error
        address = f"file:{quote(str(path))}?mode=ro&immutable=1"
        connection = dialect.connect(address, **{**options, "uri": True})
        record.info["frozen"] = why
    return connection


def _on_begin(connection: Connection) -> None:
    why = connection.info.get("frozen")
    if why is not None and connection.get_execution_options().get("lftreg_writes"):
        code, message, hint = why
        raise StorageError(message, hint, code=code)


def _on_checkin(_connection: Any, record: Any) -> None:
    if record.info.get("frozen"):
        record.invalidate()


def _can_be_read(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(16) == b"SQLite format 3\0"
    except OSError:
        return False


def _waits(path: Path) -> bool:
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size > 0
    except OSError:
        return False
