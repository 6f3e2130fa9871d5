"""Where a registry is kept, and its transactions: those that read, and those that write."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path

from sqlalchemy import Connection, Engine

from lftreg.config import load_settings
from lftreg.errors import StorageError, cannot_write
from lftreg.outputs import make_durable
from lftreg.paths import Home
from lftreg.registry import backups, upkeep
from lftreg.registry import engine as db
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs


class Store:
    """A home, its files and its database, which is made or moved up when it is needed."""

    def __init__(self, home: Home | None = None, url: str | None = None) -> None:
        if home is None:  # the registry of this person and this folder, as the commands see it
            settings = load_settings()
            home, url = settings.home, url or settings.database_url
        self.home = home
        self.url = url or db.sqlite_url(self.home.database)
        self.blobs = Blobs(self.home)
        self.migrated: upkeep.Migration | None = None  # what had to be moved up before it was used
        self._ready = False

    @cached_property
    def _engine(self) -> Engine:
        engine = db.make_engine(self.url)
        # A registry that is forgotten lets its connections go; at the end of a process they go by themselves.
        weakref.finalize(self, engine.dispose).atexit = False
        return engine

    @cached_property
    def _file(self) -> Path | None:
        """The file of the database, if it is one."""
        return db.file_of(self._engine.url)

    def _exists(self) -> bool:
        if self._file is None or self._file.exists():
            return True
        if self.home.root.exists() and not self.home.root.is_dir():
            raise StorageError(f"{self.home.root} is a file, and a home is a folder", "choose another --home")
        return False

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """A read transaction, or None where nothing was ever written."""
        if not self._exists():
            yield None
            return
        with db.reading(self._engine) as connection:
            if not self._ready:
                found = upkeep.current(connection)
                upkeep.refuse_newer(connection, found)
                self._ready = found == t.HEAD
                if found is None:
                    yield None
                    return
            if self._ready:
                yield connection
                return
        try:
            self._prepare()
        except StorageError as error:
            if error.code not in ("read-only", "disk-full"):
                raise
            raise StorageError(
                f"the registry stays at schema {found}, and is read once it was moved to {t.HEAD}: {error.message}",
                error.hint,
                code=error.code,
            ) from error
        with db.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        """A write transaction. Raises NewerDatabase where the tables were moved on since they were first used."""
        if not self._ready:
            self._prepare()
        with db.writing(self._engine) as connection:
            upkeep.refuse_moved(connection)
            yield connection

    def _prepare(self) -> None:
        """Make the home and its database, or bring an older one up to date."""
        if (file := self._file) is not None:
            try:
                make_durable(file.parent)
            except OSError as error:
                raise cannot_write(str(file.parent), error, "choose another --home") from error
        with db.told():
            moved = upkeep.upgrade(self._engine, partial(backups.before, self.home), self.blobs.read)
        self.migrated, self._ready = moved or self.migrated, True
