"""What `gc` takes and what it leaves, while others publish, compose and evaluate."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import select, update

from lftreg.errors import CheckFailed, NotFound, UsageError
from lftreg.paths import Home
from lftreg.registry import Draft, Parent, Recipe, Registry
from lftreg.registry import engine as db
from lftreg.registry import schema as t
from lftreg.registry.garbage import Garbage
from lftreg.registry.rows import now
from tests.registry.conftest import BASE, ON_SQLITE, Late
from tests.registry.test_scores import score

Make = Callable[..., Draft]


def age(registry: Registry, days: float) -> None:
    """Let so many days go by for what is in the bin, and for every file."""
    engine = db.make_engine(registry.url)
    with db.writing(engine) as connection:
        binned = t.versions.c.removed_at.is_not(None)
        connection.execute(update(t.versions).where(binned).values(removed_at=now() - timedelta(days=days)))
    engine.dispose()
    for entry in registry.blobs.everything():
        os.utime(entry.path, (time.time() - days * 86400,) * 2)


def snapshot(registry: Registry) -> object:
    """Every row and every file."""
    engine = db.make_engine(registry.url)
    with db.reading(engine) as connection:
        rows = {name: connection.execute(select(table)).all() for name, table in t.metadata.tables.items()}
    engine.dispose()
    return rows, sorted(path for path in registry.home.root.rglob("*") if path.parent.name != "home")


def test_an_empty_home_has_no_garbage_and_stays_empty(registry: Registry, home: Path) -> None:
    assert registry.gc() == registry.gc(dry_run=True) == Garbage()
    assert not home.exists()


def test_what_is_long_in_the_bin_goes_for_good(registry: Registry, draft: Make) -> None:
    old = registry.publish(draft(seed=1, attachments={"README.md": b"words", "loss.png": b"picture"}))
    made = Recipe("cat", {}, (Parent(old.ref, old.digest, 1.0),))
    child = registry.publish(draft("child", seed=2, kind="composed", recipe=made))
    registry.alias(old.ref, "prod")
    registry.scores.add([(score(digest=old.digest, ref=old.ref), [{"item": 0}])])
    registry.scores.add([(score(digest=child.digest, ref=child.ref), [{"item": 1}])])
    registry.scores.add([(score(digest=BASE.fingerprint, ref="base:starter"), [{"item": 2}])])
    registry.remove(old.ref)
    age(registry, 29)
    assert registry.gc() == Garbage()
    age(registry, 31)

    before = snapshot(registry)
    foretold = registry.gc(dry_run=True)
    assert snapshot(registry) == before
    assert registry.gc() == foretold
    assert [one.ref for one in foretold.versions] == ["support@1"] and foretold.scores == 1
    gone = {file.sha256: file.size for file in old.files if file.name != "adapter_config.json"}
    gone_files = {one.path.name: one.bytes for one in foretold.files}
    assert (
        gone.items() <= gone_files.items() and len(gone_files) == len(gone) + 1
    )  # and the items of its score
    assert foretold.bytes == sum(gone_files.values())

    assert registry.gc() == registry.gc(keep_days=0) == Garbage()
    for find in (registry.get, registry.restore):
        with pytest.raises(NotFound):
            find("support@1")
    assert registry.verify() == [] and registry.search("words") == []
    assert [move.number for move in registry.alias_history("support")] == [1, None]
    assert {one.ref for one in registry.scores.find()} == {child.ref, "base:starter"}
    (parent,) = registry.lineage(child.ref).parents
    assert (parent.version, parent.ref, parent.digest) == (None, "support@1", old.digest)
    assert [entry.ref for entry in registry.log(action="purge")] == ["support@1"]
    assert registry.publish(draft(seed=1)).number == 2  # a number never comes again


def test_content_that_another_version_has_stays_with_its_scores(registry: Registry, draft: Make) -> None:
    own = {"note": b"of one alone"}
    one, two = registry.publish(draft("one", attachments=own)), registry.publish(draft("two"))
    registry.scores.add([(score(digest=one.digest, ref=one.ref), [{"item": 0}])])
    registry.remove("one")
    foretold = registry.gc(keep_days=0, dry_run=True)
    done = registry.gc(keep_days=0)
    assert done == foretold and [version.ref for version in done.versions] == ["one@1"]
    assert ([file.bytes for file in done.files], done.scores) == ([len(own["note"])], 0)
    assert registry.weights(two) and len(registry.scores.find(digest=two.digest)) == 1


@pytest.mark.parametrize("days", [1e9, 1e7, float("nan"), float("inf")])
def test_days_that_are_none(fresh: Registry, days: float) -> None:
    with pytest.raises(UsageError, match="days"):
        fresh.gc(keep_days=days)


def test_what_comes_back_in_time_is_kept(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    registry.remove("support")
    age(registry, 40)
    registry.restore("support")
    assert registry.gc() == Garbage() and registry.verify() == []


def test_files_that_no_row_names_go_once_they_are_old(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    with registry.blobs.staging() as stage:
        blob = stage.put_bytes(b"of a process that was killed before it wrote its rows")
        registry.blobs.place([blob])
    assert registry.gc() == Garbage()
    (waste,) = registry.gc(keep_days=0).files
    assert (waste.kind, waste.path.name, waste.bytes) == ("blob", blob.sha256, blob.size)
    assert registry.verify() == [] and not waste.path.exists()


HOLDER = """
import time
from lftreg.registry import Registry
with Registry().blobs.staging() as stage:
    (stage.folder / "half").write_bytes(bytes(1000))
    print(stage.folder.name, flush=True)
    time.sleep(60)
"""


def test_scratch_of_the_living_stays_and_that_of_the_dead_goes(registry: Registry) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    name = holder.stdout.readline().strip()
    (registry.home.scratch / "of an older lftreg").write_bytes(bytes(10))
    assert [one.path.name for one in registry.gc(keep_days=0).files] == ["of an older lftreg"]
    assert (registry.home.scratch / name / "half").exists()
    holder.kill()
    holder.communicate()
    (waste,) = registry.gc().files
    assert (waste.kind, waste.path.name, waste.bytes) == ("scratch", name, 1000)
    assert list(registry.home.scratch.iterdir()) == [] and registry.gc() == Garbage()


def test_exports_of_what_is_gone_go(registry: Registry, draft: Make) -> None:
    from lftreg.remotes.vllm import vllm_folder

    kept, gone = registry.publish(draft("kept", seed=1)), registry.publish(draft("gone", seed=2))
    folders = [vllm_folder(registry, version) for version in (kept, gone)]
    registry.remove("gone")
    done = registry.gc(keep_days=0)
    assert [one.path for one in done.files if one.kind == "export"] == [folders[1]]
    assert [folder.exists() for folder in folders] == [True, False]
    assert list(registry.home.scratch.iterdir()) == [] and registry.gc(keep_days=0) == Garbage()


def test_without_its_database_nothing_is_garbage(registry: Registry, home: Path, draft: Make) -> None:
    version = registry.publish(draft())
    registry.close()
    for path in home.glob("registry.db*"):
        path.unlink()
    with pytest.raises(CheckFailed, match="no database"):
        Registry(registry.home).gc(keep_days=0)
    assert all(registry.blobs.path(file.sha256).exists() for file in version.files)


def test_who_publishes_first_while_garbage_is_looked_for_is_known(registry: Registry, draft: Make) -> None:
    registry.upgrade()
    with Registry() as other:
        registry.blobs = Late(registry.home, lambda: other.publish(draft()))
        registry.gc(keep_days=0)
    assert registry.verify() == []


@ON_SQLITE
def test_a_home_that_is_first_used_while_garbage_is_looked_for(registry: Registry, draft: Make) -> None:
    with Registry() as other:
        registry.blobs = Late(registry.home, lambda: other.publish(draft()))
        registry.gc(keep_days=0)
    assert registry.verify() == []


# Others at work meanwhile

COLLECT = """
import time
from lftreg.registry import Registry
registry, gone = Registry(), 0
print("ready", flush=True)
while not registry.home.root.joinpath("enough").exists():
    gone += len(registry.gc(keep_days=0).files)
    time.sleep(0.01)  # or it would keep a processor from those whom it is to disturb
print(gone)
"""

PUBLISH = """
import sys
from pathlib import Path
from lftreg.registry import Base, Draft, Registry
weights, name, times, same = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), len(sys.argv) > 4
config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
registry = Registry()
for n in range(times):
    attachments = {"note": b"equal" if same else f"{name} {n}".encode()}
    made = registry.publish(
        Draft(name, "trained", Base("f" * 64, "starter", "llama", 15), weights, config, attachments=attachments)
    )
    if same:
        registry.remove(made.ref)  # and what the next one publishes is being collected
"""

SCORE = """
from lftreg.registry import Base, Registry, Score
from lftreg.registry.rows import now
registry, base = Registry(), Base("f" * 64, "starter", "llama", 15)
for n in range(30):
    bleu = {"bleu": {"value": n}}
    score = Score(base.fingerprint, base.id, base, "s", "d" * 64, {}, "e" * 64, 1, bleu, {}, "", now())
    registry.scores.add([(score, [{"item": n % 7}])])
"""


COMPOSE = """
from lftreg import Registry, compose
registry = Registry()
for n in range(4):
    compose(["a", f"b:{n}"], name="mix", registry=registry)
"""


def beside_a_collector(registry: Registry, *others: list[str]) -> int:
    """Run processes while another collects; the number of files that it took."""
    registry.upgrade()
    python = [sys.executable, "-c"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    collector = subprocess.Popen([*python, COLLECT], **pipes)  # type: ignore[call-overload]
    assert collector.stdout.readline() == "ready\n"
    workers = [subprocess.Popen([*python, *words], **pipes) for words in others]  # type: ignore[call-overload]
    for worker in workers:
        _, said = worker.communicate(timeout=300)
        assert worker.returncode == 0, said
    (registry.home.root / "enough").touch()
    told, said = collector.communicate(timeout=60)
    assert collector.returncode == 0, said
    return int(told)


@pytest.mark.slow
def test_600_publishes_beside_a_collector_are_whole(registry: Registry, draft: Make) -> None:
    drafts = [draft(seed=n) for n in range(4)]
    beside_a_collector(
        registry, *([PUBLISH, str(d.weights), f"writer{n}", "150"] for n, d in enumerate(drafts))
    )
    assert len(registry.list(all_versions=True)) == 600
    assert registry.verify() == []


@pytest.mark.slow
def test_content_that_is_collected_can_be_published_again(registry: Registry, draft: Make) -> None:
    weights = str(draft(seed=1).weights)
    taken = beside_a_collector(registry, *([PUBLISH, weights, f"writer{n}", "60", "same"] for n in range(2)))
    assert taken > 0
    assert registry.publish(draft(seed=1)).number == 1 and registry.verify() == []
    registry.gc(keep_days=0)
    assert registry.verify() == [] and registry.list(removed=True) == []


@pytest.mark.slow
def test_scores_and_compositions_beside_a_collector_are_whole(registry: Registry, draft: Make) -> None:
    for seed, name in enumerate("ab"):
        registry.publish(draft(name, seed))
    beside_a_collector(registry, [SCORE], [COMPOSE])
    assert len(registry.scores.find()) == 30 and len(registry.list(kind="composed", all_versions=True)) == 4
    assert registry.verify() == []


def test_a_database_touches_no_files_of_another(registry: Registry, home: Path, draft: Make) -> None:
    version = registry.publish(draft())
    registry.close()
    other = Registry(Home(home), f"sqlite:///{home}/other.db")
    for act in (lambda: other.publish(draft(seed=1)), lambda: other.gc(0, dry_run=True), lambda: other.gc(0)):
        with pytest.raises(CheckFailed) as refused:
            act()
        assert refused.value.code == "another-registry"
    registry.blobs.owner.unlink()
    with pytest.raises(CheckFailed, match="no database that knows them"):  # nor where they bear no mark
        other.gc(0)
    assert Registry().verify(version.ref) == []
    copy = registry.backup(home / "copy.db")
    assert Registry(Home(home), f"sqlite:///{copy}").publish(draft(seed=2)).number == 2  # it is the same
