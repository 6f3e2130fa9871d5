"""The schema's age: a fresh database is made, an older one moved up, a newer one left alone."""

from __future__ import annotations

import warnings
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from lftreg.errors import NewerDatabase
from lftreg.registry.schema import HEAD


def current(connection: Connection) -> str | None:
    """The migration a database stands at, or None for an empty one. Alembic is not imported."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    version: str | None = connection.scalar(text("SELECT version_num FROM alembic_version"))
    return version


def refuse_newer(found: str | None) -> None:
    """Migrations are numbered, so what stands above ours was written by a later lftreg."""
    if found is not None and found > HEAD:
        raise NewerDatabase(
            f"the registry was written by a newer lftreg (schema {found}, this one knows {HEAD})",
            "update lftreg, or use another --home; nothing was changed",
        )


def upgrade(engine: Engine) -> None:
    """Bring a database to HEAD in one write transaction, so that of many processes one does it.

    Foreign keys are off meanwhile (a batch migration would delete every child row) and checked
    before the commit.
    """
    sqlite = engine.dialect.name == "sqlite"
    with engine.connect().execution_options(lftreg_writes=True) as connection:
        if sqlite:
            raw: Any = connection.connection.dbapi_connection
            raw.execute("PRAGMA foreign_keys=OFF")
        with connection.begin():
            found = current(connection)
            refuse_newer(found)
            if found != HEAD:
                _migrate(connection)
                if sqlite and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                    raise RuntimeError("a migration broke a foreign key")
        if sqlite:
            raw.execute("PRAGMA foreign_keys=ON")


def _migrate(connection: Connection) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", "lftreg:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
