"""A registry's rows from one database into another: nothing is lost, nothing half done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, insert, select

from lftreg.errors import InvalidData, NotFound, StorageError, UsageError
from lftreg.paths import Home
from lftreg.registry import Draft, Parent, Recipe, Registry, Run
from lftreg.registry import engine as db
from lftreg.registry import schema as t
from tests.postgres import Postgres
from tests.registry.conftest import BASE, ON_SQLITE
from tests.registry.test_scores import choice, score

Make = Callable[..., Draft]
Rows = dict[str, list[tuple[Any, ...]]]


def rows(url: str) -> Rows:
    """Every row of every table, by its key."""
    engine = db.make_engine(url)
    try:
        with db.reading(engine) as connection:
            found = {
                table.name: [
                    tuple(row) for row in connection.execute(select(table).order_by(*table.primary_key))
                ]
                for table in t.metadata.sorted_tables
            }
    finally:
        engine.dispose()
    return found


def searchable(url: str) -> int:
    """How many versions have words to be found by."""
    engine = db.make_engine(url)
    with db.reading(engine) as connection:
        count = connection.scalar(select(func.count()).select_from(t.words))
    engine.dispose()
    return count or 0


@pytest.fixture
def full(registry: Registry, draft: Make) -> Registry:
    """A row in every table."""
    run = Run(
        2**62, "d" * 64, {"z": 1, "a": [0.1, None]}, {"torch": "2"}, {"last": 1e-300}, {"train": 9}, 100, 1.5
    )
    a = registry.publish(draft("name", run=run, tags={"team": "Käthe\n🙂", "Z": ""}))
    recipe = Recipe("cat", {"density": 0.5}, (Parent(a.ref, a.digest, 0.1 + 0.2),), float("inf"))
    registry.publish(
        draft("mix", seed=1, kind="composed", recipe=recipe, attachments={"README.md": b"# Words"})
    )
    registry.remove(registry.publish(draft("gone", seed=2)).ref)
    registry.alias("mix", "prod")
    registry.scores.add([(score(a.digest), [{"prompt": "q"}])])
    registry.scores.prefer(choice(0))
    registry.keys.add("website", expires_at=datetime.now(UTC))
    registry.remember_fingerprint("5" * 64, BASE)
    assert all(rows(registry.url).values()), "a table without a row"
    return registry


@pytest.fixture
def other(postgres: Postgres) -> Iterator[str]:
    """The URL of an empty database of PostgreSQL."""
    name = postgres.new()
    yield postgres.url(name)
    postgres.drop(name)


def test_there_and_back_every_row_is_the_same(
    full: Registry, other: str, tmp_path: Path, draft: Make
) -> None:
    before = rows(full.url)
    counts = full.copy_to(other)
    assert counts == {name: len(found) for name, found in before.items() if name != "measures"}
    assert rows(other) == before
    back = f"sqlite:///{tmp_path / 'new folder' / 'registry.db'}"
    with Registry(full.home, other) as team:
        team.copy_to(back)
        assert searchable(other) == searchable(full.url) == 3  # what is searched is made anew
        # Ids go on from those that came.
        assert team.publish(draft("mix", seed=3)).number == 2
        team.tag("mix@2", {"a": "b"})
        team.scores.prefer(choice(1))
        assert team.verify() == []
    assert rows(back) == before
    with Registry(full.home, back) as alone:
        assert alone.get("mix@prod") == full.get("mix@prod")
        assert alone.publish(draft("new", seed=4)).number == 1


def test_a_backup_is_a_whole_registry(full: Registry, draft: Make, tmp_path: Path) -> None:
    before = rows(full.url)
    copy = full.backup(tmp_path / "monday" / "copy.db")
    full.publish(draft("later", seed=5))
    assert rows(f"sqlite:///{copy}") == before
    assert list(copy.parent.iterdir()) == [copy]
    with pytest.raises(UsageError, match="exists already"):
        full.backup(copy)
    with Registry(Home(tmp_path / "elsewhere", full.home.blobs), f"sqlite:///{copy}") as old:
        assert old.verify() == []
        assert {v.name for v in old.list()} == {"name", "mix"}


def test_a_target_that_holds_anything_is_refused(full: Registry, other: str, postgres: Postgres) -> None:
    name = other.split("?")[0].rpartition("/")[2]
    postgres.sql("CREATE TABLE theirs (a int)", database=name)
    with pytest.raises(UsageError, match="not empty: it holds theirs"):
        full.copy_to(other)
    postgres.sql("DROP TABLE theirs", database=name)
    full.copy_to(other)
    with pytest.raises(UsageError, match="not empty"):
        full.copy_to(other)
    with pytest.raises(UsageError, match="not empty"):
        full.copy_to(full.url)


def test_what_was_made_ready_and_never_written_to_is_empty(full: Registry, other: str) -> None:
    with Registry(full.home, other) as ready:
        ready.upgrade()
    full.copy_to(other)
    assert rows(other) == rows(full.url)


@ON_SQLITE
def test_a_copy_that_fails_leaves_nothing(
    full: Registry, other: str, tmp_path: Path, postgres: Postgres
) -> None:
    """A name longer than the schema allows: SQLite does not mind, PostgreSQL refuses the row after many others."""
    engine = db.make_engine(full.url)
    with db.writing(engine) as connection:
        connection.execute(insert(t.adapters).values(name="x" * 65))
    engine.dispose()
    with pytest.raises(InvalidData, match="does not fit"):
        full.copy_to(other)
    name = other.split("?")[0].rpartition("/")[2]
    assert postgres.sql("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'", database=name) == [(0,)]
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot be written"):
        full.copy_to(f"sqlite:///{tmp_path}/file/registry.db")


def test_there_is_nothing_to_copy_yet(fresh: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no database"):
        fresh.backup(tmp_path / "copy.db")
    with pytest.raises(NotFound, match="no database"):
        fresh.copy_to(f"sqlite:///{tmp_path / 'copy.db'}")
    assert not (tmp_path / "copy.db").exists()
