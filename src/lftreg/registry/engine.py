"""The database's connection: transactions that read, transactions that write, and what is told of a refusal.

What only SQLite or only PostgreSQL does stands in `sqlite` and `postgres`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from lftreg.errors import LftregError, StorageError, UsageError
from lftreg.registry import postgres, sqlite
from lftreg.registry.sqlite import WAIT, file_of, sqlite_url

__all__ = [
    "WAIT", "after_ids", "after_migration", "as_ours", "before_migration", "file_of", "make_engine", "migrating",
    "reading", "sqlite_url", "told", "writing",
]  # fmt: skip

EXAMPLES = "write postgresql://user@host/database, or sqlite:////folder/registry.db"


class Own(Protocol):
    """What each database does in its own way."""

    @property
    def READER(self) -> Mapping[str, Any]: ...
    @property
    def WRITER(self) -> Mapping[str, Any]: ...

    def make_engine(self, url: URL) -> Engine: ...
    def migrating(self, engine: Engine) -> AbstractContextManager[Connection]: ...
    def before_migration(self, connection: Connection) -> None: ...
    def after_migration(self, connection: Connection) -> None: ...
    def after_ids(self, connection: Connection) -> None: ...
    def refusal(self, error: BaseException) -> LftregError | None: ...


DATABASES: Mapping[str, Own] = {"sqlite": sqlite, "postgresql": postgres, "postgres": postgres}


def make_engine(url: str) -> Engine:
    """Raises UsageError for a URL that is none or a database that is not known. Connects to nothing yet."""
    try:
        parsed = make_url(url)
        name = parsed.get_backend_name()
    except (ArgumentError, ValueError) as error:  # it may hold a password: it is not repeated
        raise UsageError("LFTREG_DATABASE_URL cannot be read as the URL of a database", EXAMPLES) from error
    if name not in DATABASES:
        raise UsageError(f"a registry cannot be kept in {name}", EXAMPLES)
    return DATABASES[name].make_engine(parsed)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state, however much it asks."""
    with told(), engine.connect() as connection:
        if options := _own(engine).READER:
            connection.execution_options(**options)
        with connection.begin():
            yield connection


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction of which there is one at a time. Raises StorageError where others hold it for WAIT seconds."""
    with told(), engine.connect() as connection:
        connection.execution_options(**_own(engine).WRITER)
        with connection.begin():
            yield connection


def migrating(engine: Engine) -> AbstractContextManager[Connection]:
    """A write transaction in which tables may be changed."""
    return _own(engine).migrating(engine)


def before_migration(connection: Connection) -> None:
    """What a database must be like. Raises StorageError."""
    _own(connection.engine).before_migration(connection)


def after_migration(connection: Connection) -> None:
    """What has to be true of new tables before they are committed."""
    _own(connection.engine).after_migration(connection)


def after_ids(connection: Connection) -> None:
    """Rows came with their ids: the next ones follow."""
    _own(connection.engine).after_ids(connection)


@contextmanager
def told() -> Iterator[None]:
    """What a database refuses, as a sentence."""
    try:
        yield
    except DBAPIError as error:
        raise as_ours(error.orig if error.orig is not None else error) from error
    except sqlite3.Error as error:  # from where a transaction begins
        raise as_ours(error) from error
    except PoolTimeout as error:
        raise StorageError("this process has too many transactions open", "try again") from error


def as_ours(error: BaseException) -> LftregError:
    for own in DATABASES.values():
        if (known := own.refusal(error)) is not None:
            return known
    return StorageError(
        f"the registry's database failed: {error}", "`lftreg db backup` and `lftreg doctor` may tell more"
    )


def _own(engine: Engine) -> Own:
    return DATABASES[engine.dialect.name]
