"""The schema's age: a fresh database is made, an older one moved up, a newer one left alone."""

from __future__ import annotations

import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from lftreg.errors import LftregError, NewerDatabase, StorageError
from lftreg.registry import derived, log
from lftreg.registry import engine as db
from lftreg.registry.schema import HEAD

Backup = Callable[[Connection, str], Path | None]  # given the schema that is about to be left
SCRIPTS = "lftreg:migrations"
FRESH = (
    Path(__file__).parent.parent / "migrations" / "fresh.sql"
)  # what the migrations make of nothing in SQLite
NEEDS = "0.1.0"  # the first lftreg that reads this schema
_VERSION = text("SELECT version_num FROM alembic_version")


@dataclass(frozen=True, slots=True)
class Migration:
    """A database that was moved up, and the copy of it from before, if one was wanted."""

    before: str
    after: str
    backup: Path | None


def current(connection: Connection) -> str | None:
    """The migration a database stands at, or None for an empty one. Alembic is not imported."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(_VERSION)
    return version


def refuse_newer(connection: Connection, found: str | None) -> None:
    """Migrations are numbered, so what stands above ours was written by a later lftreg."""
    if found is None or found <= HEAD:
        return
    needs = None
    if inspect(connection).has_table("meta"):
        needs = connection.scalar(text("SELECT value FROM meta WHERE key = 'needs'"))
    message = f"the registry was written by a newer lftreg (schema {found}, this one knows {HEAD})"
    if needs is None:
        raise NewerDatabase(message, "update lftreg, or use another --home; nothing was changed")
    raise NewerDatabase(
        f"{message}; lftreg {needs} or newer reads it",
        f"pip install 'lftreg>={needs}', or use another --home; nothing was changed",
    )


def refuse_moved(connection: Connection) -> None:
    """Raises NewerDatabase where a newer lftreg moved the tables while this process had them open."""
    refuse_newer(connection, connection.scalar(_VERSION))


def upgrade(
    engine: Engine, backup: Backup | None = None, read: derived.Read | None = None
) -> Migration | None:
    """Bring a database to HEAD in one write transaction, so that of many processes one does it.

    What it held before is given to `backup` first, within that transaction; where that raises, nothing begins. `read`
    gives the stored files that new tables are filled from. Foreign keys are checked before the commit. None where
    nothing was to be moved. Raises StorageError, with nothing changed.
    """
    with db.migrating(engine) as connection:
        found = current(connection)
        refuse_newer(connection, found)
        return None if found == HEAD else _move(connection, found, backup, read)


def migrate(connection: Connection) -> None:
    """Move the tables to HEAD, within a transaction of `engine.migrating`."""
    db.before_migration(connection)
    _migrate(connection)
    db.after_migration(connection)


def make(connection: Connection) -> None:
    """The tables of a fresh SQLite database, as the migrations would make them one after another: without Alembic."""
    for statement in FRESH.read_text(encoding="utf-8").partition("\n")[2].split(";\n\n"):
        connection.exec_driver_sql(statement.strip().removesuffix(";"))
    connection.execute(text("INSERT INTO alembic_version VALUES (:version)"), {"version": HEAD})
    told = {"needs": NEEDS, "registry": uuid.uuid4().hex}
    rows = [{"key": key, "value": value} for key, value in told.items()]
    connection.execute(text("INSERT INTO meta (key, value) VALUES (:key, :value)"), rows)


def _move(
    connection: Connection, found: str | None, backup: Backup | None, read: derived.Read | None
) -> Migration | None:
    kept = backup(connection, found) if backup is not None and found is not None else None
    try:
        if found is None and connection.dialect.name == "sqlite":
            make(connection)
        else:
            migrate(connection)
        derived.rebuild(connection, read)
        if found is not None:
            log.write(connection, "migrate", "database", schema=HEAD, before=found)
    except BaseException as error:
        if kept is not None:
            kept.unlink(missing_ok=True)  # nothing was changed: it would only push older ones out
        if isinstance(error, Exception) and not isinstance(error, LftregError | DBAPIError):
            raise StorageError(
                f"the registry could not be moved from schema {found} to {HEAD}: {error}",
                "nothing was changed; please report it, and go on with the lftreg that wrote it",
                code="migration-failed",
            ) from error
        raise
    return None if found is None else Migration(found, HEAD, kept)


def _migrate(connection: Connection) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", SCRIPTS)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
