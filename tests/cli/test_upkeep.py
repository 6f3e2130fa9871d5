"""A database of another schema, as whoever types a command meets it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lftreg.paths import Home
from lftreg.registry.schema import HEAD
from tests.cli.conftest import Lftreg
from tests.registry.schemas.make import load

OLD = Path(__file__).parents[1] / "registry" / "schemas" / "0002.sql"


def test_the_first_command_moves_an_older_registry_and_says_where_the_backup_is(
    lftreg: Lftreg, home: Path
) -> None:
    load(OLD, Home(home))
    assert "schema" in lftreg("db", "current").out
    assert not (home / "backups").exists(), "to look is not to change"
    done = lftreg("search", "desk")
    assert "support@1" in done.out
    (kept,) = (home / "backups").iterdir()
    assert done.err == f"the registry moved from schema 0002 to {HEAD}; what it was before is {kept}\n"
    assert lftreg("list").err == ""


def test_db_upgrade_says_where_the_backup_is(lftreg: Lftreg, home: Path) -> None:
    load(OLD, Home(home))
    done = lftreg("db", "upgrade", "--json").document
    (kept,) = (home / "backups").iterdir()
    assert done == {"from": "0002", "schema": HEAD, "head": HEAD, "backup": str(kept)}
    assert lftreg("db", "upgrade", "--json").document["backup"] is None
    assert lftreg("db", "upgrade").err == f"schema {HEAD} already\n"
    # The copy is put back with the commands of any shell, and is a registry again.
    (home / "registry.db").unlink()
    kept.rename(home / "registry.db")
    assert len(lftreg("list", "--json").document) == 7


COMMANDS = (
    ("list",), ("show", "support"), ("search", "x"), ("tag", "support", "a=b"), ("alias", "support", "prod"),
    ("rm", "support"), ("restore", "support"), ("verify", "--all"), ("lineage", "support"), ("db", "upgrade"),
    ("keys", "add", "k"), ("keys", "list"), ("bases",), ("leaderboard",), ("export", "support", "--output", "x.tar"),
)  # fmt: skip


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_83_newer_schema(lftreg: Lftreg, home: Path, words: tuple[str, ...]) -> None:
    load(OLD, Home(home))
    lftreg("db", "upgrade")
    connection = sqlite3.connect(home / "registry.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.execute("UPDATE meta SET value = '0.9' WHERE key = 'needs'")
    connection.execute("ALTER TABLE versions RENAME TO versions_of_tomorrow")
    connection.commit()
    connection.close()
    before = {path: path.read_bytes() for path in home.rglob("*") if path.is_file()}
    done = lftreg(*words, "--json", code=1)
    assert done.error == {
        "code": "newer-database",
        "message": f"the registry was written by a newer lftreg (schema 9999, this one knows {HEAD}); lftreg 0.9 or"
        " newer reads it",
        "hint": "pip install 'lftreg>=0.9', or use another --home; nothing was changed",
    }
    assert done.out == ""
    assert {path: path.read_bytes() for path in home.rglob("*") if path.is_file()} == before


def test_a_newer_schema_is_no_older_one(lftreg: Lftreg, home: Path) -> None:
    load(OLD, Home(home))
    assert f"schema 0002 of {HEAD}" in lftreg("doctor").out
    assert not (home / "backups").exists(), "doctor only looks"
    lftreg("db", "upgrade")
    connection = sqlite3.connect(home / "registry.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    done = lftreg("doctor", code=6)
    assert "written by a newer lftreg" in done.out and "db upgrade" not in done.out
    assert f"9999, newer than what this lftreg reads: {HEAD}" in lftreg("db", "current").out
