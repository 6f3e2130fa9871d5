"""How much a registry holds: counted by the database in a few questions, and once by going through the files."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection, Table, func, select, text

from lftreg.paths import Home
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs
from lftreg.registry.garbage import weight

LARGEST = 10


@dataclass(frozen=True, slots=True)
class Large:
    """An adapter, its versions with those in the bin, and the bytes that they name."""

    name: str
    versions: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Stats:
    """What there is. Sizes are bytes.

    `named` is what the files of all versions would take if each had its own, `unique` what they take; `on_disk` is
    what lies in the store. Versions in the bin count among the files, not among `versions`.
    """

    adapters: int = 0
    versions: int = 0
    removed: int = 0
    damaged: int = 0
    bases: int = 0
    scores: int = 0
    preferences: int = 0
    runs: int = 0
    named: int = 0
    unique: int = 0
    files: int = 0
    on_disk: int = 0
    quarantine: int = 0
    scratch: int = 0
    exports: int = 0
    checkpoints: int = 0
    database: int = 0
    largest: tuple[Large, ...] = ()

    @property
    def ratio(self) -> float | None:
        """How many times what is stored is used: 1 where nothing is shared; None where there is nothing."""
        return self.named / self.unique if self.unique else None


def measure(connection: Connection | None, home: Home, blobs: Blobs) -> Stats:
    """Count what there is, in the database and on the disk."""
    sizes = list(blobs.sizes())
    found = Stats(
        files=len(sizes),
        on_disk=sum(sizes),
        quarantine=weight(home.quarantine),
        scratch=sum(weight(folder) for folder in {home.drafts, home.scratch}),
        exports=weight(home.exports),
        checkpoints=weight(home.runs),
    )
    if connection is None:
        return found
    v, f = t.versions.c, t.files.c
    versions, marked, adapters = connection.execute(
        select(func.count(), func.count(v.damage), func.count(v.adapter_id.distinct())).where(
            v.removed_at.is_(None)
        )
    ).one()
    # Faster than to have them grouped.
    alone = {row.sha256: row.size for row in connection.execute(select(f.sha256, f.size))}
    return replace(
        found,
        adapters=adapters,
        versions=versions,
        removed=_count(connection, t.versions) - versions,
        damaged=marked,
        bases=_count(connection, t.bases),
        scores=_count(connection, t.scores),
        preferences=_count(connection, t.preferences),
        runs=_count(connection, t.runs),
        named=int(connection.scalar(select(func.coalesce(func.sum(f.size), 0))) or 0),
        unique=sum(alone.values()),
        database=_database(connection, home),
        largest=tuple(_largest(connection)),
    )


def _count(connection: Connection, table: Table) -> int:
    return connection.scalar(select(func.count()).select_from(table)) or 0


def _largest(connection: Connection) -> Iterator[Large]:
    """The adapters whose files take most."""
    v, f = t.versions.c, t.files.c
    total = func.sum(f.size).label("bytes")
    most = (
        select(v.adapter_id, total)
        .join(t.files, v.id == f.version_id)
        .group_by(v.adapter_id)
        .order_by(total.desc(), v.adapter_id)
        .limit(LARGEST)
        .subquery()
    )
    versions = select(func.count()).where(v.adapter_id == t.adapters.c.id).scalar_subquery()
    query = select(t.adapters.c.name, versions, most.c.bytes).join(most, most.c.adapter_id == t.adapters.c.id)
    for name, number, taken in connection.execute(query.order_by(most.c.bytes.desc(), t.adapters.c.name)):
        yield Large(name, number, int(taken))


def _database(connection: Connection, home: Home) -> int:
    """The bytes of the database; of SQLite's with its journal."""
    if connection.dialect.name != "sqlite":
        return int(connection.scalar(text("SELECT pg_database_size(current_database())")) or 0)
    path = connection.engine.url.database or os.fspath(home.database)
    places = [Path(path + end) for end in ("", "-wal")]
    return sum(place.stat().st_size for place in places if place.exists())
