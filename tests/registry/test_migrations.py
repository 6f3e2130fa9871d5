"""Every schema that was ever released moves to the newest with all its rows, or stays as it was."""

from __future__ import annotations

import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, inspect, select, text

import lftreg.migrations
from lftreg.errors import NewerDatabase, StorageError
from lftreg.paths import Home
from lftreg.registry import Registry, backups, upkeep
from lftreg.registry import engine as db
from lftreg.registry.schema import HEAD, metadata
from tests.registry.schemas.make import FACTS, ODD, RUN, load

SCHEMAS = sorted(Path(__file__).with_name("schemas").glob("*.sql"))
Rows = dict[str, list[dict[str, Any]]]


@pytest.fixture(params=SCHEMAS, ids=lambda path: path.stem)
def old(request: pytest.FixtureRequest, home: Path) -> str:
    """A home as the lftreg of an earlier schema left it; the schema."""
    load(request.param, Home(home))
    return str(request.param.stem)


@pytest.fixture
def oldest(home: Path) -> str:
    load(SCHEMAS[0], Home(home))
    return SCHEMAS[0].stem


def rows(database: Path) -> Rows:
    """Everything in a database, as it is stored: the rows of each table in their order, with the types of values."""
    connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
    connection.row_factory = sqlite3.Row
    tables = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE 'CREATE V%'"
    )
    names = sorted(name for (name,) in tables if not name.startswith("words"))
    found = {
        name: [
            dict(row) for row in connection.execute(f'SELECT rowid AS "#", * FROM "{name}" ORDER BY rowid')
        ]
        for name in names
    }
    connection.close()
    return found


def lacks(before: Rows, after: Rows) -> list[str]:
    """What is not as it was: rows that are gone, came or changed. Columns and tables may be added."""
    wrong = []
    for name, wanted in before.items():
        if name == "alembic_version":
            continue
        found = (
            [{column: row.get(column) for column in wanted[0]} for row in after[name]]
            if wanted
            else after[name]
        )
        if repr(found) != repr(wanted):
            wrong.append(name)
    return wrong


def whole(home: Path) -> bytes:
    """The database's bytes, once all that waits in its log is in it."""
    connection = sqlite3.connect(home / "registry.db")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    return (home / "registry.db").read_bytes()


def test_every_schema_before_this_one_is_kept() -> None:
    assert [path.stem for path in SCHEMAS] == [f"{n:04}" for n in range(1, int(HEAD))]


def test_every_row_and_column_comes_through(old: str, home: Path) -> None:
    before = rows(home / "registry.db")
    with Registry(Home(home)) as registry:
        registry.upgrade()
        assert registry.schema() == (HEAD, HEAD)
    after = rows(home / "registry.db")
    assert lacks(before, after) == []
    assert all(before[name] for name in before), "a table that nothing was put into proves nothing"
    fresh = Registry(Home(home / "fresh"))
    fresh.upgrade()
    assert shape(home / "fresh" / "registry.db") == shape(home / "registry.db")


def shape(database: Path) -> dict[str, Any]:
    """Columns, indices and foreign keys of each table."""
    engine = db.make_engine(db.sqlite_url(database))
    with engine.connect() as connection:
        seen = inspect(connection)
        found = {
            name: (
                sorted((c["name"], str(c["type"]), c["nullable"]) for c in seen.get_columns(name)),
                sorted(
                    (i["name"] or "", tuple(i["column_names"]), i["unique"]) for i in seen.get_indexes(name)
                ),
                sorted((k["name"] or "", k["referred_table"]) for k in seen.get_foreign_keys(name)),
                seen.get_pk_constraint(name)["constrained_columns"],
            )
            for name in seen.get_table_names()
        }
    engine.dispose()
    return found


def test_what_a_moved_registry_says(old: str, home: Path) -> None:
    registry = Registry(Home(home))
    newest = {"support@2", "finance-2.1_b@1", "copy@1", "mixed@1", "mixed-twice@1", "guest@1", "gone@1"}
    assert {v.ref for v in registry.list()} == newest
    assert {v.ref for v in registry.list(removed=True)} == {"support@3", "gone@2"}
    first, second = registry.get("support@1"), registry.get("support@prod")
    assert (first.tags, first.run, first.domain) == (ODD, RUN, "customer_support")
    assert (second.ref, second.aliases) == ("support@2", ("prod",))
    assert registry.read(first, "README.md").startswith(b"# Support")
    assert registry.get("copy").digest == first.digest
    moves = [(m.alias, m.number) for m in registry.alias_history("support")]
    assert moves == [("prod", 1), ("prod", 2), ("canary", 3), ("canary", None)]
    (mixed,) = registry.lineage("mixed-twice").parents
    assert [(p.ref, p.weight) for p in mixed.parents] == [("support@prod", 0.7), ("finance-2.1_b@1", -0.3)]
    assert [p.version and p.version.ref for p in mixed.parents] == ["support@2", "finance-2.1_b@1"]
    assert registry.get("mixed").tags == {"note": "second"}
    assert {v.ref for v in registry.search("ключ")} == {"support@1"}
    assert {(base.id, count) for base, count in registry.bases()} == {("starter", 6), ("org/other-base", 1)}
    known = registry.fingerprint_of("12" * 32)
    assert known is not None and known.id == "org/other-base"
    assert registry.verify() == []
    with sqlite3.connect(home / "registry.db") as connection:
        has = 'SELECT rowid FROM words WHERE words MATCH \'"refunds" AND "warmly"\''
        found = connection.execute(has).fetchall()
    assert found == [(1,)], "cards are found that were written before they were searched"
    if old >= "0002":
        (score,) = registry.scores.find(digest=second.digest)
        assert (score.metrics["bleu"]["ci95"], score.facts) == ([20.0, 38.0], FACTS)
        assert [p.choice for p in registry.scores.preferences(second.digest)] == ["it", "tie", "other"]
    if old >= "0003":
        intern, website = registry.keys.list()
        assert (intern.adapters, intern.per_minute, website.scopes) == (
            ("support*",),
            20,
            ("generate", "models"),
        )
    # Numbers go on where they were, and the log begins with the move.
    (entry,) = registry.log()
    assert (entry.action, entry.details) == ("migrate", {"schema": HEAD, "before": old})
    assert [v.ref for v in registry.restore("support@3")] == ["support@3"]


def test_a_backup_comes_first(old: str, home: Path) -> None:
    before = rows(home / "registry.db")
    registry = Registry(Home(home))
    assert registry.list()
    (kept,) = (home / "backups").iterdir()
    assert kept.name.startswith(f"registry-{old}-")
    assert registry.migrated == upkeep.Migration(old, HEAD, kept)
    assert rows(kept) == before
    assert [path.name for path in (home / "backups").iterdir()] == [kept.name], (
        "one file is all there is to keep"
    )
    again = Registry(Home(home))
    assert again.list() and again.migrated is None
    # It is a registry: whoever goes back has everything.
    shutil.copy(kept, home / "registry.db")
    assert Registry(Home(home)).get("support@prod").ref == "support@2"


def test_a_fresh_registry_has_nothing_to_back_up(home: Path) -> None:
    registry = Registry(Home(home))
    registry.upgrade()
    assert registry.migrated is None
    assert not (home / "backups").exists()


def test_the_newest_backups_are_kept(home: Path) -> None:
    (home / "backups").mkdir(parents=True)
    older = [home / "backups" / f"registry-0001-2020010{n}T000000.0Z.db" for n in range(1, 9)]
    for path in [*older, home / "backups" / "mine.db"]:
        path.touch()
    load(SCHEMAS[0], Home(home))
    registry = Registry(Home(home))
    registry.upgrade()
    assert registry.migrated is not None
    newest = [*older[-backups.KEPT :], home / "backups" / "mine.db", registry.migrated.backup]
    assert set((home / "backups").iterdir()) == set(newest)


def test_without_a_backup_nothing_begins(oldest: str, home: Path) -> None:
    before = whole(home)
    (home / "backups").write_text("in the way")
    with pytest.raises(StorageError, match=f"stays at schema {oldest}: no backup"):
        Registry(Home(home)).list()
    assert whole(home) == before
    (home / "backups").unlink()
    assert Registry(Home(home)).list()


OPENER = """
import sys
from lftreg.registry import Registry
sys.stdin.readline()
registry = Registry()
print(len(registry.list(all_versions=True)), registry.migrated is not None)
"""


def python(code: str, *words: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_of_eight_processes_one_moves_it(oldest: str, home: Path) -> None:
    before = rows(home / "registry.db")
    processes = [python(OPENER) for _ in range(8)]
    said = []
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert process.returncode == 0, err
        said.append(out.split())
    assert sorted(said) == [["8", "False"]] * 7 + [["8", "True"]]
    assert len(list((home / "backups").iterdir())) == 1
    assert lacks(before, rows(home / "registry.db")) == []


# Ways to fail in the middle. Each changes a copy of the migrations: the file, and what its `upgrade` ends with.
FAILING = """
    with op.batch_alter_table("versions") as batch:
        batch.alter_column("kind", type_=sa.String(99))
    op.execute("DELETE FROM tags")
"""
FAILURES = {
    "after-0002": ("0002", 'op.execute("CREATE TABLE half (x)")\n    raise RuntimeError("half")'),
    "after-0003": ("0003", FAILING + '    raise RuntimeError("half")'),
    "after-0004": ("0004", FAILING + '    op.execute("INSERT INTO nowhere VALUES (1)")'),
    "in-a-batch": ("0004", 'op.execute("CREATE TABLE _alembic_tmp_versions (x)")' + FAILING),
    "foreign-key": ("0004", 'op.execute("DELETE FROM bases")'),
    "memory": ("0003", FAILING + '    raise MemoryError("half")'),
    "ctrl-c": ("0003", FAILING + "    raise KeyboardInterrupt"),
}


@pytest.fixture
def scripts(tmp_path: Path) -> Path:
    """Migrations that a test may change."""
    (source,) = lftreg.migrations.__path__
    return shutil.copytree(source, tmp_path / "migrations", ignore=shutil.ignore_patterns("__pycache__"))


def spoil(scripts: Path, revision: str, end: str) -> None:
    (script,) = (scripts / "versions").glob(f"{revision}_*.py")
    text = script.read_text()
    assert text.rstrip().startswith('"""') and "def downgrade" not in text
    script.write_text(f"{text.rstrip()}\n    {end}\n")


@pytest.mark.parametrize(("revision", "end"), FAILURES.values(), ids=FAILURES)
def test_a_failure_in_the_middle_leaves_the_old_state(
    oldest: str, home: Path, scripts: Path, monkeypatch: pytest.MonkeyPatch, revision: str, end: str
) -> None:
    before = whole(home)
    spoil(scripts, revision, end)
    monkeypatch.setattr(upkeep, "SCRIPTS", str(scripts))
    registry = Registry(Home(home))
    for _ in range(2):
        with pytest.raises((StorageError, KeyboardInterrupt)) as failed:
            registry.list()
        if isinstance(failed.value, StorageError):
            assert failed.value.hint is not None and failed.value.__cause__ is not None
    registry.close()
    assert whole(home) == before
    assert not list((home / "backups").iterdir())
    monkeypatch.undo()
    monkeypatch.setenv("LFTREG_HOME", str(home))
    assert len(Registry(Home(home)).list(all_versions=True)) == 8


@pytest.mark.parametrize("how", ["ABORT", "FAIL", "ROLLBACK"])
def test_a_database_that_refuses_a_row_is_left_as_it_was(oldest: str, home: Path, how: str) -> None:
    """A trigger stops the first UPDATE of a migration; ROLLBACK ends the transaction beneath it as well."""
    with sqlite3.connect(home / "registry.db") as connection:
        connection.execute(
            f"CREATE TRIGGER no BEFORE UPDATE ON adapters BEGIN SELECT RAISE({how}, 'not this one'); END"
        )
    before = whole(home)
    registry = Registry(Home(home))
    with pytest.raises(StorageError, match="not this one"):
        registry.list()
    registry.close()
    assert whole(home) == before
    with sqlite3.connect(home / "registry.db") as connection:
        connection.execute("DROP TRIGGER no")
    assert len(registry.list(all_versions=True)) == 8


KILLED = """
import os, sys
from lftreg.registry import Registry, upkeep
upkeep.SCRIPTS = sys.argv[1]
Registry().list()
"""


@pytest.mark.parametrize("revision", ["0002", "0003", "0004"])
def test_a_kill_in_the_middle_leaves_the_old_state(
    oldest: str, home: Path, scripts: Path, revision: str
) -> None:
    before = whole(home)
    # The cache is made to spill, so that what is not committed stands in the files.
    spill = 'op.execute("PRAGMA cache_spill=1")\n    op.execute("PRAGMA cache_size=1")\n    import os, signal'
    spoil(scripts, revision, spill + FAILING + "    os.kill(os.getpid(), signal.SIGKILL)")
    process = python(KILLED, str(scripts))
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert whole(home) == before
    (left,) = (home / "backups").iterdir()
    assert rows(left) == rows(home / "registry.db")
    assert len(Registry(Home(home)).list(all_versions=True)) == 8


@pytest.mark.parametrize("needs", ["0.9", None])
def test_a_database_of_a_newer_lftreg_is_left_alone(home: Path, needs: str | None) -> None:
    """Its tables may be any; from schema 0004 on it says itself which lftreg reads it."""
    with Registry(Home(home)) as made:
        made.upgrade()
    connection = sqlite3.connect(home / "registry.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.execute("ALTER TABLE versions RENAME TO versions_of_tomorrow")
    connection.execute("DROP TABLE meta" if needs is None else f"UPDATE meta SET value = '{needs}'")
    connection.commit()
    connection.close()
    before = contents(home)
    newer = Registry(Home(home))
    for act in (newer.list, lambda: newer.tag("a", {"b": "c"}), newer.upgrade, lambda: newer.get("a")):
        with pytest.raises(NewerDatabase) as refused:
            act()
        said = f"the registry was written by a newer lftreg (schema 9999, this one knows {HEAD})"
        if needs is None:
            assert refused.value.message == said
        else:
            assert refused.value.message == f"{said}; lftreg 0.9 or newer reads it"
            assert refused.value.hint is not None and "pip install 'lftreg>=0.9'" in refused.value.hint
    newer.close()
    assert contents(home) == before


def test_a_newer_database_of_either_kind_is_left_alone(registry: Registry) -> None:
    registry.upgrade()
    engine = db.make_engine(registry.url)
    with db.writing(engine) as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    before = everything(engine)
    newer = Registry()
    for act in (newer.list, lambda: newer.tag("a", {"b": "c"}), newer.upgrade):
        with pytest.raises(NewerDatabase, match=r"lftreg \d\.\d.* or newer reads it"):
            act()
    assert everything(engine) == before
    newer.close()
    engine.dispose()


def everything(engine: Engine) -> dict[str, list[Any]]:
    with db.reading(engine) as connection:
        return {
            table.name: list(connection.execute(select(table).order_by(*table.primary_key)))
            for table in metadata.sorted_tables
        }


def contents(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}


def test_the_migrations_make_the_tables_that_the_code_declares(registry: Registry) -> None:
    registry.upgrade()
    engine = db.make_engine(registry.url)
    with engine.connect() as connection:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        # Of `words` each database has what it searches texts by.
        own = {
            "include_object": lambda _o, name, kind, _r, _c: (
                not (kind == "table" and name.startswith("words"))
            )
        }
        context = MigrationContext.configure(connection, opts=own)
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, metadata) == []
        found = {name for name in inspect(connection).get_table_names() if not name.startswith("words")}
        assert found == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_a_fresh_database_is_what_the_migrations_make(home: Path) -> None:
    """`python tools/schema.py` writes fresh.sql anew."""
    made: list[dict[str, Any]] = []
    for name, way in (("fresh", upkeep.make), ("migrated", upkeep.migrate)):
        path = home / name / "registry.db"
        path.parent.mkdir(parents=True)
        engine = db.make_engine(db.sqlite_url(path))
        with db.migrating(engine) as connection:
            way(connection)
            tables = connection.exec_driver_sql("SELECT type, name, tbl_name, sql FROM sqlite_master")
            versions = connection.exec_driver_sql("SELECT version_num FROM alembic_version")
            meta = dict(connection.exec_driver_sql("SELECT key, value FROM meta").all())
            made.append({"tables": sorted(map(str, tables)), "version": versions.all(), "meta": meta})
        engine.dispose()
    ids = [one["meta"].pop("registry") for one in made]
    assert made[0] == made[1]
    assert len(set(ids)) == 2 and all(re.fullmatch("[0-9a-f]{32}", one) for one in ids)


def test_a_fresh_registry_needs_no_alembic(home: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from lftreg.paths import Home; from lftreg.registry import Registry; "
        f"Registry(Home(Path({str(home)!r}))).upgrade(); sys.exit('alembic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "lftreg:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD
