"""The registry under fire: many processes, kills, full disks, folders that cannot be written."""

from __future__ import annotations

import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg.errors import StorageError
from lftreg.paths import Home
from lftreg.registry import Draft, Registry
from lftreg.registry import engine as db
from tests.registry.conftest import ON_SQLITE

Make = Callable[..., Draft]

WRITER = """
import sys
from pathlib import Path
from typing import Any
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


@pytest.mark.slow
def test_kill_9_while_publishing_leaves_whole_versions(registry: Registry, home: Path, draft: Make) -> None:
    registry.publish(draft("victim"))
    registry.alias("victim", "latest")  # from here on one version has it, whoever is killed before or after
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


def test_a_file_that_is_no_database(home: Path) -> None:
    home.mkdir()
    (home / "registry.db").write_text("not a database at all, whatever its name says" * 100)
    with pytest.raises(StorageError, match="not a database"):
        Registry().list()


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
    with pytest.raises(StorageError, match="is a file"):
        Registry(Home(tmp_path / "file")).list()


HOLDER = """
import sys, time
from lftreg.registry import engine as db
engine = db.make_engine(sys.argv[1])
with db.writing(engine):
    print("held", flush=True)
    time.sleep(float(sys.argv[2]))
"""


def test_another_writer_is_waited_for(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    command = [sys.executable, "-c", HOLDER, registry.url, "1.5"]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None and holder.stdout.readline() == "held\n"
    assert registry.list()  # a reader does not wait
    assert registry.publish(draft()).number == 2
    holder.communicate()


@ON_SQLITE
def test_sqlite_runs_as_it_must(registry: Registry) -> None:
    registry.upgrade()
    engine = db.make_engine(registry.url)
    with db.reading(engine) as connection:
        pragma = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in
                  ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}  # fmt: skip
    engine.dispose()
    full = 2  # a commit is on the disk before it is told
    assert pragma == {
        "journal_mode": "wal", "synchronous": full, "foreign_keys": 1, "busy_timeout": db.WAIT * 1000,
    }  # fmt: skip
