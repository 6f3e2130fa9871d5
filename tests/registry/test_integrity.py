"""What `verify` finds, marks and sets apart, and how it heals."""

from __future__ import annotations

import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from lftreg.errors import CheckFailed
from lftreg.paths import Home
from lftreg.registry import CONFIG, WEIGHTS, Draft, Parent, Recipe, Registry, Version
from lftreg.registry import engine as db
from lftreg.registry.garbage import Garbage
from tests.registry.conftest import ON_SQLITE, Late
from tests.registry.test_scores import score

Make = Callable[..., Draft]


def spoil(registry: Registry, version: Version, name: str = WEIGHTS) -> bytes:
    """Change the last byte of a file, as a bad disk does. Returns what lies there now."""
    path = registry.file(version, name)
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    return path.read_bytes()


def change(registry: Registry, statement: str) -> None:
    """What nobody but a damaged database or a stranger's hand does to rows."""
    engine = db.make_engine(registry.url)
    with db.migrating(engine) as connection:  # nothing holds rows to what they refer to
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL session_replication_role = replica")
        connection.execute(text(statement))
    engine.dispose()


def test_what_is_damaged_is_set_apart_and_marked_until_it_heals(registry: Registry, draft: Make) -> None:
    good, one, two = (
        registry.publish(draft(name, seed=n)) for n, name in ((0, "good"), (1, "one"), (1, "two"))
    )
    spoiled = spoil(registry, one)
    found = registry.inspect()
    assert {(p.ref, p.code) for p in found.problems} == {("one@1", "changed-file"), ("two@1", "changed-file")}
    (apart,) = found.apart
    assert apart == registry.home.quarantine / one.files[1].sha256 and apart.read_bytes() == spoiled
    assert {v.ref: v.damage for v in registry.list()} == {
        good.ref: None, one.ref: f"{WEIGHTS} is not what was stored", two.ref: f"{WEIGHTS} is not what was stored",
    }  # fmt: skip
    with pytest.raises(CheckFailed, match=f"of one@1 is damaged: it was set apart as {apart}") as told:
        registry.weights(one)
    assert "heals" in str(told.value.hint)

    again = registry.inspect()
    assert (again.problems, again.apart) == (found.problems, ())
    assert registry.verify(good.ref) == [] and registry.verify(two.ref) == [found.problems[0]]
    registry.publish(draft("three", seed=1))  # equal content, however it comes
    assert [v.damage for v in registry.list()] == [None] * 4
    assert registry.verify() == [] and registry.weights(one)
    assert [(e.action, e.ref) for e in registry.log()][:2] == [("heal", "one@1"), ("heal", "two@1")]
    assert len(registry.log(action="damage")) == 2 and apart.read_bytes() == spoiled


def test_what_was_set_apart_is_never_overwritten(registry: Registry, draft: Make) -> None:
    version = registry.publish(draft())
    for ending in ("", ".1", ".2"):
        spoil(registry, version)
        (apart,) = registry.inspect().apart
        assert apart.name == version.files[1].sha256 + ending
        registry.publish(draft())
    assert registry.verify() == []


def test_a_file_that_comes_back_by_hand_is_found_whole(
    registry: Registry, draft: Make, tmp_path: Path
) -> None:
    version = registry.publish(draft())
    path = registry.file(version, CONFIG)
    shutil.move(path, tmp_path / "elsewhere")
    assert [p.code for p in registry.verify(version.ref)] == ["missing-file"]
    assert registry.get(version.ref).damage == f"{CONFIG} is missing"
    shutil.move(tmp_path / "elsewhere", path)
    assert registry.inspect(version.ref).healed == (version.ref,)
    assert registry.get(version.ref).damage is None


def test_a_file_that_many_share_is_read_once(registry: Registry, draft: Make) -> None:
    for n in range(5):
        registry.publish(draft(f"copy{n}"))
    found = registry.inspect()
    assert (found.checked, found.files) == (5, 2)
    assert found.bytes == registry.get("copy0").bytes == registry.stats().on_disk
    stats = registry.stats()
    assert (stats.named, stats.unique, stats.ratio) == (5 * found.bytes, found.bytes, 5.0)


def test_the_bin_is_looked_at_too(registry: Registry, draft: Make) -> None:
    version = registry.publish(draft())
    registry.file(version, WEIGHTS).unlink()
    registry.remove(version.ref)
    assert [(p.ref, p.code) for p in registry.verify()] == [("support@1", "missing-file")]
    assert registry.restore(version.ref)[0].damage


@pytest.mark.parametrize(
    ("statement", "ref", "code"),
    [
        (f"DELETE FROM files WHERE name = '{CONFIG}' AND version_id = 1", "one@1", "missing-row"),
        ("UPDATE files SET size = size + 1 WHERE version_id = 1 AND name LIKE '%.safetensors'", "one@1", "changed-row"),
        ("UPDATE versions SET digest = 'beef' WHERE id = 1", "one@1", "digest"),
        ("UPDATE aliases SET version_id = 2", "one@prod", "stray-alias"),
        ("UPDATE aliases SET version_id = 99", "aliases", "missing-row"),
        ("UPDATE versions SET base = 'nobody' WHERE id = 1", "versions", "missing-row"),
        ("DELETE FROM words WHERE rowid = 1", "words", "stale-words"),
        ("INSERT INTO words (rowid, said) VALUES (77, 'nobody')", "words", "stale-words"),
        ("UPDATE measures SET value = 7 WHERE suite = ''", "measures", "stale-measures"),
        ("DELETE FROM measures", "measures", "stale-measures"),
        ("DELETE FROM terms WHERE word = 'starter'", "terms", "stale-terms"),
    ],
)  # fmt: skip
def test_rows_that_are_wrong(registry: Registry, draft: Make, statement: str, ref: str, code: str) -> None:
    one, _ = registry.publish(draft("one")), registry.publish(draft("two"))
    registry.alias("one", "prod")
    registry.scores.add([(score(one.digest, ref=one.ref), [{"item": 0}])])
    assert registry.verify() == []
    change(registry, statement)
    assert (ref, code) in {(problem.ref, problem.code) for problem in registry.verify()}
    assert (ref, code) in {(problem.ref, problem.code) for problem in registry.verify()}
    if code.startswith("stale"):
        assert registry.inspect(repair=True).repaired[0] in (ref, "measures")
        assert registry.verify() == []


def test_parents_that_were_never_here_are_no_damage(registry: Registry, draft: Make) -> None:
    parent = registry.publish(draft("parent", seed=1))
    parents = (Parent(parent.ref, parent.digest, 0.5), Parent("stranger@4", "b" * 64, 0.5))
    registry.publish(draft("child", kind="composed", recipe=Recipe("cat", {}, parents)))
    registry.remove("parent")
    registry.gc(keep_days=0)
    found = registry.inspect()
    assert found.problems == ()
    (note,) = found.notes
    assert "stranger@4" in note and "child@1" in note


def test_a_stray_file_that_is_not_what_its_name_says(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    path = registry.blobs.path("c" * 64)
    path.parent.mkdir()
    path.write_bytes(b"something else")
    found = registry.inspect()
    assert [(p.ref, p.code) for p in found.problems] == [("blobs/" + 12 * "c", "changed-blob")]
    assert [path.name for path in found.apart] == ["c" * 64]
    assert registry.verify() == []


@ON_SQLITE
def test_a_registry_that_cannot_be_written_to_is_told_about(registry: Registry, draft: Make) -> None:
    version = registry.publish(draft())
    spoil(registry, version)
    registry.close()
    with sqlite3.connect(registry.home.database) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    connection.close()
    reader = Registry(registry.home, f"sqlite:///file:{registry.home.database}?mode=ro&uri=true")
    found = reader.inspect()
    assert [problem.code for problem in found.problems] == ["changed-file"]
    assert not found.noted and found.apart == () and not registry.home.quarantine.exists()
    reader.close()
    assert registry.inspect().noted and registry.get(version.ref).damage


# Killed at any moment

WORK = """
import sys
from lftreg.registry import Registry
registry = Registry()
print("ready", flush=True)
registry.inspect() if sys.argv[1] == "verify" else registry.gc(keep_days=0)
"""


def killed(what: str, home: Path, after: float) -> None:
    process = subprocess.Popen([sys.executable, "-c", WORK, what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(after)
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_who_is_killed_is_finished_by_the_next(home: Path, draft: Make) -> None:
    for name, moments in (("verify", (0.02, 0.06)), ("gc", (0.02, 0.06))):
        for after in moments:
            shutil.rmtree(home, ignore_errors=True)
            registry = Registry(Home(home))
            made = [registry.publish(draft(f"a{n}", seed=n)) for n in range(40)]
            for version in made:
                spoil(registry, version) if name == "verify" else registry.remove(version.ref)
            killed(name, home, after)
            if name == "verify":
                assert len(registry.verify()) == len([v for v in registry.list() if v.damage]) == 40
                assert len(list(registry.home.quarantine.iterdir())) == 40
                assert len(registry.log(action="damage")) == 40
            else:
                registry.gc(keep_days=0)
                assert registry.gc(keep_days=0) == Garbage() and list(registry.blobs.everything()) == []
                assert len(registry.log(action="purge")) == 40
            assert list(registry.home.scratch.iterdir()) == []
            registry.close()


def test_what_is_purged_while_it_is_looked_at_is_no_problem(registry: Registry, draft: Make) -> None:
    """On SQLite the next version gets the row of the one that is gone, and must not bear its mark."""
    one = registry.publish(draft("one"))
    registry.scores.add([(score(one.digest, ref=one.ref), [{"item": 0}])])
    with Registry() as other:

        def purge() -> None:
            other.remove("one")
            other.gc(keep_days=0)
            other.publish(draft("two", seed=2))

        registry.blobs = Late(registry.home, purge)
        assert registry.verify() == []
        assert other.get("two").damage is None and other.verify() == []


def test_what_is_purged_once_it_was_read_is_no_problem(registry: Registry, draft: Make) -> None:
    registry.publish(draft("one"))
    with Registry() as other:

        def listen(doing: str, files: int, of_files: int, *_: int) -> None:
            if doing == "hashing" and files == of_files and other.list(name="one"):
                other.remove("one")
                other.gc(keep_days=0)

        assert registry.inspect(listen=listen).problems == ()
