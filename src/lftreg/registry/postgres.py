"""All that is PostgreSQL's own.

Readers see one state however much they ask, and cannot write. Writers come one after the other, as on SQLite, by a
lock that ends with their transaction: what they read is still true when they write, and nothing has to be tried again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from sqlalchemy import URL, Connection, Engine, event, func, select, text

from lftreg.errors import InvalidData, LftregError, StorageError, Unavailable, UsageError
from lftreg.registry import schema as t
from lftreg.registry.values import engine_of

WAIT = 30.0  # seconds that a writer waits for the others
CONNECT = 10  # seconds until a server that says nothing is given up
LOCK = 0x6C667472  # "lftr"
READER: Mapping[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
# Each statement sees what is there when it begins: all that came before the lock was had. Whether changes are
# taken is left to the server: a standby tells by itself.
WRITER: Mapping[str, Any] = {
    "isolation_level": "READ COMMITTED", "postgresql_readonly": None, "lftreg_writes": True,
}  # fmt: skip

LOOK = "look with `lftreg log` or `lftreg list`, then try again: a change is there whole or not at all"
LOST = ("lost-connection", "the connection to the registry's database was lost", LOOK)
# By SQLSTATE, or the first letters of one: code, sentence, hint.
REFUSALS = {
    "55P03": ("busy", "the registry is busy: another process holds it", "try again; nothing was changed"),
    "57014": ("busy", "the database gave up: it took too long", "try again; nothing was changed"),
    "25006": (
        "read-only",
        "the registry cannot be written: the database takes no changes",
        "a standby takes none; give the address of the primary",
    ),
    "53100": (
        "disk-full",
        "the disk of the database's server is full; nothing was changed",
        "free some space there",
    ),
    "53300": (
        "busy",
        "the database's server has too many connections",
        "try again, or raise its max_connections",
    ),
    "53": ("busy", "the database's server is at its limits; nothing was changed", "try again later"),
    "57P03": ("unreachable", "the database's server is starting or stopping", "try again in a moment"),
    "57P": LOST,
    "25P03": LOST,  # the server gives up transactions that do nothing for long
    "40": ("busy", "the database gave way to another who changes it", "try again; nothing was changed"),
    "54": (
        "invalid-data",
        "a value does not fit into the registry's database; nothing was changed",
        "give a shorter or smaller one",
    ),
    "08": LOST,
    "28": (
        "no-access",
        "the database's server does not let you in",
        "check user and password of LFTREG_DATABASE_URL",
    ),
    "3D000": (
        "no-database",
        "the registry's database does not exist",
        "`createdb` makes it; check LFTREG_DATABASE_URL",
    ),
    "42501": (
        "no-access",
        "this user of the database may not do that",
        "GRANT them the rights on its schema and tables, or connect as their owner",
    ),
    "42P01": (
        "damaged",
        "the registry's database is damaged: a table is missing",
        "restore it from a backup",
    ),
    "22P05": (
        "invalid-data",
        "the database's encoding cannot hold this text",
        "make it with `createdb --encoding UTF8`",
    ),
    "22": (
        "invalid-data",
        "a value does not fit into the registry's database; nothing was changed",
        "give a shorter or smaller one",
    ),
}
# No SQLSTATE comes with what goes wrong before there is a connection. Words of the server may be in its language.
UNSTATED = (
    ("password", "28"),
    ("no pg_hba.conf entry", "28"),
    ("role ", "28"),
    ("does not exist", "3D000"),
    ("too many", "53300"),
    ("connection slots", "53300"),
    ("starting up", "57P03"),
    ("shutting down", "57P03"),
    ("server closed", "08"),
    ("connection is closed", "08"),
    ("connection is lost", "08"),
    ("terminating connection", "08"),
    ("consuming input", "08"),
    ("sending query", "08"),
    ("SSL connection has been closed", "08"),
)
INSTALL = "pip install 'lftreg[postgres]'"


def make_engine(url: URL) -> Engine:
    """Raises UsageError for another driver than psycopg, Unavailable where that is not installed."""
    if url.drivername not in ("postgresql", "postgres", "postgresql+psycopg"):
        raise UsageError(
            f"the driver of {url.drivername}:// is not supported", "write the URL as postgresql://…"
        )
    given = {"connect_timeout": CONNECT, "application_name": "lftreg", "client_encoding": "utf8"}
    given = {name: value for name, value in given.items() if name not in url.query}
    # What is prepared outlives neither a migration nor a pooler between us and the server.
    given["prepare_threshold"] = None
    try:
        engine = engine_of(url.set(drivername="postgresql+psycopg"), pool_pre_ping=True, connect_args=given)
    except ImportError as error:
        raise Unavailable(f"a registry in PostgreSQL needs psycopg 3: {error}", INSTALL) from error
    event.listen(engine, "begin", _on_begin)
    return engine


@contextmanager
def migrating(engine: Engine) -> Iterator[Connection]:
    """A write transaction: what makes and changes tables is part of it."""
    with engine.connect().execution_options(**WRITER) as connection, connection.begin():
        yield connection


def before_migration(connection: Connection) -> None:
    """Raises StorageError for a database that cannot hold every text."""
    encoding = connection.exec_driver_sql("SHOW server_encoding").scalar()
    if encoding != "UTF8":
        raise StorageError(
            f"the database's encoding is {encoding}, which cannot hold every text",
            "make it with `createdb --encoding UTF8 --template template0`",
        )


def after_migration(connection: Connection) -> None:
    """Compare texts by their bytes, as SQLite does, whatever language the database is of.

    Lists are in the same order then, and an index finds by the beginning of a text.
    """
    found = connection.execute(
        text(
            "SELECT c.relname, a.attname, format_type(a.atttypid, a.atttypmod) FROM pg_attribute a"
            " JOIN pg_class c ON c.oid = a.attrelid JOIN pg_type y ON y.oid = a.atttypid"
            " LEFT JOIN pg_collation o ON o.oid = a.attcollation"
            " WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid) AND c.relname = ANY(:ours)"
            " AND a.attnum > 0 AND NOT a.attisdropped AND y.typcategory = 'S' AND o.collname <> 'C'"
            " ORDER BY c.relname, a.attnum"
        ),
        {"ours": list(t.metadata.tables)},
    ).all()
    for table in dict.fromkeys(row[0] for row in found):
        parts = (
            f'ALTER COLUMN "{name}" TYPE {kind} COLLATE "C"' for owner, name, kind in found if owner == table
        )
        connection.exec_driver_sql(f'ALTER TABLE "{table}" {", ".join(parts)}')


def after_ids(connection: Connection) -> None:
    """Go on counting after rows that came with their ids."""
    for table in t.metadata.sorted_tables:
        for column in table.primary_key:
            owner = func.pg_get_serial_sequence(f'"{table.name}"', column.name)
            if connection.scalar(select(owner)) is not None:
                last = select(func.coalesce(func.max(column), 0) + 1).scalar_subquery()
                connection.execute(select(func.setval(owner, last, False)))


def refusal(error: BaseException) -> LftregError | None:
    if not type(error).__module__.startswith("psycopg"):
        return None
    said = " ".join(str(error).split())
    state = getattr(error, "sqlstate", None)
    if state is None:
        state = next((code for needle, code in UNSTATED if needle in said), None)
        if state is None:
            return StorageError(
                f"the registry's database server cannot be reached: {said}",
                "is it running, and is LFTREG_DATABASE_URL right?",
                code="unreachable",
            )
    for code in (state, state[:3], state[:2]):
        if code in REFUSALS:
            name, message, hint = REFUSALS[code]
            kind = InvalidData if name == "invalid-data" else StorageError
            return kind(message if len(code) == 5 else f"{message} ({said})", hint, code=name)
    return None


def _on_begin(connection: Connection) -> None:
    if connection.get_execution_options().get("lftreg_writes"):
        wait = int(WAIT * 1000)
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {wait}; SELECT pg_advisory_xact_lock({LOCK})")
