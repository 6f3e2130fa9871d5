"""The registry under fire: many processes, kills, full disks, folders that cannot be written."""

from __future__ import annotations

import os
import random
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import inspect

from lftreg.errors import NewerDatabase, StorageError
from lftreg.paths import Home
from lftreg.registry import Draft, Registry
from lftreg.registry import engine as db
from lftreg.registry.schema import HEAD, metadata

Make = Callable[..., Draft]

WRITER = """
import sys
from pathlib import Path
from lftreg.registry import Base, Draft, Registry
weights, name, times = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
registry = Registry()
for n in range(times):
    version = registry.publish(Draft(name, "trained", Base("f" * 64, "starter", "llama", 15), weights, config))
    registry.tag(version.ref, {"n": str(n)})
    registry.alias(version.ref, "latest")
"""


def writer(draft: Draft, name: str, times: int, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(draft.weights), name, str(times)],
        env=os.environ | {"LFTREG_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
    )


def test_many_processes_at_first_use_lose_nothing(home: Path, draft: Make) -> None:
    """All of them find no home, make it together, and write to one name."""
    processes = [writer(draft(), "shared", 5, home) for _ in range(8)]
    for process in processes:
        _, said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    registry = Registry(Home(home))
    versions = registry.list(all_versions=True)
    assert sorted(v.number for v in versions) == list(range(1, 41))
    assert sum("latest" in v.aliases for v in versions) == 1
    assert all(v.tags for v in versions)
    assert registry.verify() == []


def test_kill_9_while_publishing_leaves_whole_versions(home: Path, draft: Make) -> None:
    registry = Registry(Home(home))
    moments = random.Random(3)
    for round_ in range(8):
        process = writer(draft(seed=round_), "victim", 10_000, home)
        deadline = time.monotonic() + 30
        known = len(registry.list(all_versions=True))
        while len(registry.list(all_versions=True)) == known and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(moments.random() * 0.1)
        process.kill()
        process.communicate()
        assert len(registry.list(all_versions=True)) > known
        assert registry.verify() == []
        assert sum("latest" in v.aliases for v in registry.list(all_versions=True)) == 1
    assert registry.publish(draft("victim")).number == len(registry.list(all_versions=True))


def test_a_database_of_a_newer_lftreg_is_left_alone(home: Path, registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    with sqlite3.connect(home / "registry.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    before = (home / "registry.db").read_bytes()
    newer = Registry(Home(home))
    for act in (newer.list, lambda: newer.publish(draft()), newer.upgrade):
        with pytest.raises(NewerDatabase, match="newer lftreg"):
            act()
    assert (home / "registry.db").read_bytes() == before


def test_a_file_that_is_no_database(home: Path) -> None:
    home.mkdir()
    (home / "registry.db").write_text("not a database at all, whatever its name says" * 100)
    with pytest.raises(StorageError, match="not a database"):
        Registry(Home(home)).list()


def test_a_full_disk_changes_nothing(registry: Registry, draft: Make) -> None:
    """The kernel refuses to grow any file, as a full disk would."""
    registry.publish(draft())
    big = draft(seed=1, attachments={"big": os.urandom(1 << 20)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 19, limits[1]))
    try:
        with pytest.raises(StorageError):
            registry.publish(big)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert [v.number for v in registry.list(all_versions=True)] == [1]
    assert not list((registry.home.scratch).iterdir())
    assert registry.publish(big).number == 2


def test_a_home_that_cannot_be_made(tmp_path: Path, draft: Make) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError):
        Registry(Home(tmp_path / "file" / "home")).publish(draft())


def test_another_writer_is_waited_for(home: Path, registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    holder = subprocess.Popen(
        [
            sys.executable, "-c",
            "import sqlite3, sys, time; c = sqlite3.connect(sys.argv[1], isolation_level=None);"
            "c.execute('BEGIN IMMEDIATE'); print('held', flush=True); time.sleep(1.5); c.execute('COMMIT')",
            str(home / "registry.db"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert registry.list()  # a reader does not wait
    assert registry.publish(draft()).number == 2
    holder.communicate()


def test_the_migrations_make_the_tables_that_the_code_declares(registry: Registry) -> None:
    registry.upgrade()
    engine = db.make_engine(registry.url)
    with engine.connect() as connection:
        from alembic.autogenerate import compare_metadata
        from alembic.migration import MigrationContext

        context = MigrationContext.configure(connection)
        assert context.get_current_revision() == HEAD
        assert compare_metadata(context, metadata) == []
        assert set(inspect(connection).get_table_names()) == {*metadata.tables, "alembic_version"}
    engine.dispose()


def test_head_is_the_newest_migration() -> None:
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", "lftreg:migrations")
    assert ScriptDirectory.from_config(config).get_current_head() == HEAD


def test_sqlite_runs_as_it_must(registry: Registry) -> None:
    registry.upgrade()
    engine = db.make_engine(registry.url)
    with db.reading(engine) as connection:
        pragma = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                  ("journal_mode", "foreign_keys", "busy_timeout")}  # fmt: skip
    engine.dispose()
    assert pragma == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": db.WAIT * 1000}


def test_a_backup_is_a_whole_registry(registry: Registry, draft: Make, tmp_path: Path) -> None:
    registry.publish(draft())
    copy = registry.backup(tmp_path / "copy.db")
    registry.publish(draft(seed=1))
    old = Registry(registry.home, f"sqlite:///{copy}")
    assert [v.ref for v in old.list(all_versions=True)] == ["support@1"]
