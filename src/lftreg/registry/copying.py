"""A whole registry's rows from one database into another: a backup, or a move to PostgreSQL and back."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, Table, func, insert, inspect, select

from lftreg.errors import StorageError, UsageError
from lftreg.outputs import sync_folder
from lftreg.registry import backups, derived, upkeep
from lftreg.registry import engine as db
from lftreg.registry import schema as t

AT_ONCE = 1000  # rows
MADE_ANEW = {t.measures}  # of other rows, by `derived`
FROM_MIGRATIONS = {t.meta}  # has rows in a registry that nothing was ever written to


def backup(source: Engine, target: Path) -> None:
    """Write a file of SQLite with all of it, while others go on writing: whole, or not at all.

    Raises UsageError where something is there already.
    """
    with _new_file(target) as draft:
        if db.file_of(source.url) is None:
            _copy_to_file(source, draft)
            return
        with db.reading(source) as connection, _told():  # as others read, also where nothing can be written
            backups.copy(connection.connection.driver_connection, draft)


def copy_to(source: Engine, url: str) -> dict[str, int]:
    """Copy into the empty database of a URL; see `copy`. A file of SQLite is made, with its folder."""
    target = db.make_engine(url)
    try:
        file = db.file_of(target.url)
        if file is None or file.exists():
            return copy(source, target)
        with _new_file(file) as draft:
            return _copy_to_file(source, draft)
    finally:
        target.dispose()


def copy(source: Engine, target: Engine) -> dict[str, int]:
    """Copy every row as it stood at one moment into an empty database, all of them or none.

    Returns how many rows each table has. Raises UsageError for a target that holds anything, or a source of another
    schema than HEAD.
    """
    with db.reading(source) as old:
        if upkeep.current(old) != t.HEAD:
            raise UsageError(
                "the registry is of another schema than this lftreg", "`lftreg db upgrade` first"
            )
        with db.told(), db.migrating(target) as new:
            _refuse_full(new)
            if upkeep.current(new) is None:
                upkeep.migrate(new)
            for table in FROM_MIGRATIONS:
                new.execute(table.delete())
            counts = {
                table.name: _copy_table(old, new, table)
                for table in t.metadata.sorted_tables
                if table not in MADE_ANEW
            }
            db.after_ids(new)
            derived.rebuild(new)
            db.after_migration(new)
    return counts


def _copy_to_file(source: Engine, draft: Path) -> dict[str, int]:
    engine = db.make_engine(db.sqlite_url(draft))
    try:
        counts = copy(source, engine)
    finally:
        engine.dispose()
    with _told():  # of a full disk, where closing tells nothing
        backups.settle(draft)
    return counts


@contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise db.as_ours(error) from error


def _copy_table(old: Connection, new: Connection, table: Table) -> int:
    query = select(table).order_by(*table.primary_key)
    for rows in old.execution_options(yield_per=AT_ONCE).execute(query).mappings().partitions():
        new.execute(insert(table), [dict(row) for row in rows])
    count = select(func.count()).select_from(table)
    before, after = old.scalar(count) or 0, new.scalar(count) or 0
    if before != after:
        raise StorageError(
            f"{after} of {before} rows of {table.name} arrived; nothing was changed", "try again"
        )
    return after


def _refuse_full(connection: Connection) -> None:
    """Raises UsageError where there is anything but the tables of a registry that was never written to."""
    found = inspect(connection).get_table_names()
    version = upkeep.current(connection)
    upkeep.refuse_newer(connection, version)
    if version is None:
        held = found[:1]
    elif version != t.HEAD:
        held = ["a registry of an older schema"]
    else:
        ours = [table for table in t.metadata.sorted_tables if table not in FROM_MIGRATIONS]
        held = [table.name for table in ours if connection.execute(select(table).limit(1)).first()]
    if held:
        raise UsageError(
            f"the target is not empty: it holds {held[0]}", "give an empty database; nothing was changed"
        )


@contextmanager
def _new_file(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to, which takes its place once all went well."""
    if target.exists():
        raise UsageError(f"{target} exists already", "a backup never overwrites; give another name")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".lftreg-") as scratch:
            draft = Path(scratch) / target.name
            yield draft
            draft.rename(target)
        sync_folder(target.parent)
    except OSError as error:
        raise StorageError(
            f"{target} cannot be written: {error.strerror or error}",
            "free some space, or choose another path",
        ) from error
