"""What is PostgreSQL's own: how it is reached, what it refuses, and that it compares texts as SQLite does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import Engine, select, text

from lftreg.errors import InvalidData, LftregError, StorageError, Unavailable, UsageError
from lftreg.paths import Home
from lftreg.registry import Draft, Registry
from lftreg.registry import engine as db
from lftreg.registry import postgres as own
from lftreg.registry import schema as t
from tests.postgres import GUARDED, Postgres

Make = Callable[..., Draft]
SECRET = "s3cret"


@pytest.fixture
def name(postgres: Postgres) -> Iterator[str]:
    """A database with the tables of a registry."""
    made = postgres.ready()
    yield made
    postgres.drop(made)


@pytest.fixture
def registry(postgres: Postgres, name: str, home: Path) -> Iterator[Registry]:
    with Registry(Home(home), postgres.url(name)) as registry:
        yield registry


@pytest.fixture
def engine(registry: Registry) -> Iterator[Engine]:
    made = db.make_engine(registry.url)
    yield made
    made.dispose()


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg"])
def test_urls_as_people_have_them(registry: Registry, draft: Make, scheme: str) -> None:
    again = Registry(registry.home, registry.url.replace("postgresql", scheme))
    assert again.publish(draft()).ref == "support@1"
    again.close()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://user:s3cret@host/x", "cannot be kept in mysql"),
        ("postgresql+psycopg2://user:s3cret@host/x", "driver of postgresql+psycopg2"),
        ("postgresql+asyncpg://user:s3cret@host/x", "driver of postgresql+asyncpg"),
        ("user:s3cret@host/x", "cannot be read as the URL"),
        ("postgresql://user:s3cret@host:port/x", "cannot be read as the URL"),
        ("registry.db", "cannot be read as the URL"),
    ],
)
def test_urls_that_lead_nowhere(home: Path, url: str, message: str) -> None:
    with pytest.raises(UsageError) as told:
        Registry(Home(home), url).list()
    assert message in told.value.message
    assert SECRET not in f"{told.value.message} {told.value.hint}"


def test_without_psycopg_it_is_said_what_to_install(home: Path) -> None:
    code = (
        "import sys; sys.modules['psycopg'] = None; from lftreg.errors import Unavailable\n"
        "from lftreg.registry import Registry\n"
        "try: Registry(url='postgresql://host/x').list()\n"
        "except Unavailable as error: print(error.hint)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "pip install 'lftreg[postgres]'"
    assert Unavailable.exit_code == 5


def refused(home: Path, url: str) -> LftregError:
    with pytest.raises(LftregError) as told, Registry(Home(home), url) as registry:
        registry.list()
    assert SECRET not in f"{told.value.message} {told.value.hint}"
    return told.value


def test_servers_that_do_not_let_us_in(postgres: Postgres, home: Path) -> None:
    assert "cannot be reached" in refused(home, f"postgresql://me:{SECRET}@127.0.0.1:1/x").message
    assert "does not exist" in refused(home, postgres.url("nosuch")).message
    assert "does not let you in" in refused(home, postgres.url(user="nobody_known")).message
    postgres.sql(f"CREATE ROLE {GUARDED} LOGIN PASSWORD 'another'")
    try:
        wrong = postgres.url(user=f"{GUARDED}:{SECRET}")
        assert "does not let you in" in refused(home, wrong).message
        assert "does not let you in" in refused(home, postgres.url(user=GUARDED)).message
        postgres.sql(f"ALTER ROLE {GUARDED} PASSWORD '{SECRET}' CONNECTION LIMIT 0")
        assert "too many connections" in refused(home, wrong).message
    finally:
        postgres.sql(f"DROP ROLE {GUARDED}")


@pytest.mark.parametrize(
    ("state", "told"),
    [
        ("53100", "the disk of the database's server is full"),
        ("53200", "the database's server is at its limits"),
        ("57014", "the database gave up"),
        ("42P01", "a table is missing"),
        ("XX001", "the registry's database failed"),
    ],
)
def test_what_goes_wrong_within_the_server_is_told(engine: Engine, state: str, told: str) -> None:
    with pytest.raises(StorageError, match=told), db.writing(engine) as connection:
        connection.exec_driver_sql(f"DO $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '{state}'; END $$")


def test_what_members_of_a_role_make_belongs_to_all(postgres: Postgres, home: Path, draft: Make) -> None:
    """As docs/teams.md sets it up: who began does not own it."""
    owner = "team_of_this_test"
    postgres.sql(f"CREATE ROLE {owner}")
    name = postgres.new(f"OWNER {owner}")
    members = ("ann_of_this_test", "bob_of_this_test")
    try:
        for number, member in enumerate(members, 1):
            postgres.sql(
                f"CREATE ROLE {member} LOGIN",
                f"GRANT {owner} TO {member}",
                f"ALTER ROLE {member} IN DATABASE {name} SET role = {owner}",
            )
            with Registry(Home(home), postgres.url(name, member)) as registry:
                assert registry.publish(draft()).number == number
    finally:
        postgres.drop(name)
        postgres.sql(*(f"DROP ROLE IF EXISTS {role}" for role in (*members, owner)))


def test_who_may_only_read_reads(postgres: Postgres, name: str, registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    role = f"reader_of_{name}"
    postgres.sql(
        f"CREATE ROLE {role} LOGIN", f"GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}", database=name
    )
    with Registry(registry.home, postgres.url(name, role)) as reader:
        assert [v.ref for v in reader.list()] == ["support@1"]
        with pytest.raises(StorageError, match="may not do that") as told:
            reader.publish(draft(seed=1))
    assert "GRANT" in (told.value.hint or "")
    postgres.sql(f"DROP OWNED BY {role}", f"DROP ROLE {role}", database=name)


def test_a_database_that_takes_no_changes(postgres: Postgres, name: str, home: Path, draft: Make) -> None:
    """As a standby does."""
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    with Registry(Home(home), postgres.url(name)) as registry:
        assert registry.list() == []
        with pytest.raises(StorageError, match="takes no changes"):
            registry.publish(draft())


def test_a_database_that_cannot_hold_every_text(postgres: Postgres, home: Path, draft: Make) -> None:
    name = postgres.new("TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
    with Registry(Home(home), postgres.url(name)) as registry:
        assert registry.list() == []
        with pytest.raises(StorageError, match="LATIN1"):
            registry.publish(draft())
    postgres.drop(name)


def test_who_waits_too_long_is_told(
    registry: Registry, engine: Engine, draft: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.publish(draft())
    monkeypatch.setattr(own, "WAIT", 0.1)
    with db.writing(engine), pytest.raises(StorageError, match="busy"):
        registry.publish(draft(seed=1))
    assert registry.publish(draft(seed=1)).number == 2


def test_a_lost_connection_is_told_and_the_next_use_has_another(
    registry: Registry, engine: Engine, postgres: Postgres, name: str, draft: Make
) -> None:
    registry.publish(draft())
    end = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
    postgres.sql(end)
    assert registry.publish(draft(seed=1)).number == 2
    with (
        pytest.raises(StorageError, match="connection to the registry's database was lost"),
        db.writing(engine) as held,
    ):
        held.execute(t.adapters.insert().values(name="half"))
        postgres.sql(end)
        held.execute(t.adapters.insert().values(name="whole"))
    assert {v.name for v in registry.list()} == {"support"}
    with db.reading(engine) as connection:
        assert connection.scalars(select(t.adapters.c.name)).all() == ["support"]


def test_a_reader_sees_one_state_and_writes_nothing(registry: Registry, engine: Engine, draft: Make) -> None:
    registry.publish(draft())
    with db.reading(engine) as connection:
        count = "SELECT count(*) FROM versions"
        assert connection.execute(text(count)).scalar() == 1
        registry.publish(draft(seed=1))
        assert connection.execute(text(count)).scalar() == 1
    with pytest.raises(StorageError, match="takes no changes"), db.reading(engine) as connection:
        connection.execute(text("DELETE FROM versions"))


def test_a_writer_that_waited_sees_what_was_written_meanwhile(
    engine: Engine, postgres: Postgres, name: str
) -> None:
    """Even where the database's own transactions see only what was there when they began."""
    postgres.sql(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
    found: list[int | None] = []

    def second() -> None:
        with db.writing(engine) as connection:
            found.append(connection.execute(text("SELECT count(*) FROM adapters")).scalar())

    with db.writing(engine) as first:
        waiting = threading.Thread(target=second)
        waiting.start()
        waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        while postgres.sql(waits)[0][0] == 0:
            pass
        first.execute(t.adapters.insert().values(name="support"))
    waiting.join()
    assert found == [1]


def test_texts_are_compared_by_their_bytes(registry: Registry, engine: Engine, draft: Make) -> None:
    """Whatever language a database is of; an index then finds by the beginning of a digest."""
    collations = (
        "SELECT DISTINCT collation_name FROM information_schema.columns"
        " WHERE table_schema = 'public' AND data_type = 'character varying' AND table_name <> 'alembic_version'"
    )
    with db.reading(engine) as connection:
        assert connection.scalars(text(collations)).all() == ["C"]
    for seed, name in enumerate(("b", "a-b", "a.c", "a_a", "ab", "a1")):
        registry.publish(draft(name, seed=seed))
    assert [v.name for v in registry.listed("f" * 64)] == ["a-b", "a.c", "a1", "a_a", "ab", "b"]


def older(engine: Engine, schema: str) -> None:
    """Make the tables of an older lftreg."""
    from alembic import command
    from alembic.config import Config

    with db.migrating(engine) as connection, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        config = Config()
        config.set_main_option("script_location", "lftreg:migrations")
        config.attributes["connection"] = connection
        command.upgrade(config, schema)
        connection.execute(text("INSERT INTO adapters (name) VALUES ('support')"))


@pytest.mark.parametrize("schema", ["0001", "0002", "0003"])
def test_an_older_schema_is_moved_up_with_its_rows(
    postgres: Postgres, home: Path, draft: Make, schema: str
) -> None:
    name = postgres.new()
    engine = db.make_engine(postgres.url(name))
    older(engine, schema)
    engine.dispose()
    with Registry(Home(home), postgres.url(name)) as registry:
        assert registry.schema() == (schema, t.HEAD)
        assert registry.list() == []
        assert registry.schema() == (t.HEAD, t.HEAD)
        assert registry.publish(draft()).ref == "support@1"
    assert postgres.sql("SELECT id, name FROM adapters", database=name) == [(1, "support")]
    postgres.drop(name)


def test_a_migration_that_fails_changes_nothing(postgres: Postgres, home: Path) -> None:
    """Something of the name of a later table is in the way."""
    name = postgres.new()
    engine = db.make_engine(postgres.url(name))
    older(engine, "0003")
    engine.dispose()
    postgres.sql("CREATE TABLE measures (theirs int)", database=name)
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
    before = postgres.sql(tables, database=name)
    with Registry(Home(home), postgres.url(name)) as registry:
        with pytest.raises(StorageError, match="measures"):
            registry.upgrade()
        assert postgres.sql(tables, database=name) == before
        assert registry.schema() == ("0003", t.HEAD)
        postgres.sql("DROP TABLE measures", database=name)
        registry.upgrade()
        assert registry.schema() == (t.HEAD, t.HEAD)
    postgres.drop(name)


def test_more_versions_than_a_query_has_values(
    registry: Registry, draft: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    from lftreg.registry import rows

    monkeypatch.setattr(rows, "AT_ONCE", 2)
    for seed in range(5):
        registry.publish(draft(f"n{seed}", seed=seed, tags={"seed": str(seed)}))
    assert [v.tags["seed"] for v in registry.list()] == ["4", "3", "2", "1", "0"]


def test_a_killed_writer_holds_up_nobody(registry: Registry, draft: Make) -> None:
    code = (
        "import sys, time; from lftreg.registry import engine as db\n"
        "with db.writing(db.make_engine(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    writer = subprocess.Popen([sys.executable, "-c", code, registry.url], stdout=subprocess.PIPE, text=True)
    assert writer.stdout is not None and writer.stdout.readline() == "held\n"
    os.kill(writer.pid, signal.SIGKILL)
    writer.communicate()
    assert registry.publish(draft()).number == 1


def test_what_no_column_holds_is_refused(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    with pytest.raises(InvalidData, match="does not fit"):
        registry.keys.add("website", per_minute=2**40)
    assert registry.keys.list() == []
    assert psycopg.errors.NumericValueOutOfRange.sqlstate == "22003"
