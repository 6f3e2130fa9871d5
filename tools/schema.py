"""Write src/lftreg/migrations/fresh.sql: what all migrations make of an empty SQLite database.

    python tools/schema.py

Run it after a migration was added; tests/registry/test_migrations.py tells where it was not.
"""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from lftreg.registry import engine as db
from lftreg.registry import upkeep

HEADER = "-- Written by tools/schema.py from the migrations: a fresh database is made at once, and not step by step.\n"


def statements() -> list[str]:
    """The statements that make each table and index, in the order in which the migrations did."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "registry.db"
        engine = db.make_engine(db.sqlite_url(path))
        with db.migrating(engine) as connection:
            upkeep.migrate(connection)
        engine.dispose()
        with closing(sqlite3.connect(path)) as connection:
            # Without `sql` are the indices that SQLite makes by itself; FTS5 makes the tables behind `words`.
            found = connection.execute(
                "SELECT sql FROM sqlite_master"
                " WHERE sql IS NOT NULL AND name NOT LIKE 'words\\_%' ESCAPE '\\' ORDER BY rowid"
            )
            return [sql for (sql,) in found]


def main() -> None:
    text = HEADER + "".join(f"{statement};\n\n" for statement in statements())
    upkeep.FRESH.write_text(text.rstrip() + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
