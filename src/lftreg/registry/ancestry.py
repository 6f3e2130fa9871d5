"""What a version was made of, back to the first."""

from __future__ import annotations

from sqlalchemy import Connection, select

from lftreg.registry import schema as t
from lftreg.registry.records import Lineage, Version
from lftreg.registry.rows import SELECT, fetch


def lineage_of(
    connection: Connection, version: Version | None, ref: str, weight: float | None, digest: str = ""
) -> Lineage:
    """A version with its ancestors; one that is gone keeps its ref and digest."""
    if version is None:
        return Lineage(None, ref, digest, weight)
    made_of = version.recipe.parents if version.recipe else ()
    if version.run is not None and version.run.parent is not None:
        made_of = (version.run.parent,)
    parents = [
        lineage_of(
            connection,
            _older(connection, version, p.digest),
            p.ref,
            p.weight if version.recipe else None,
            p.digest,
        )
        for p in made_of
    ]
    return Lineage(version, ref, version.digest, weight, tuple(parents))


def _older(connection: Connection, child: Version, digest: str) -> Version | None:
    """A version of this content made before `child`: equal content may have been made again since."""
    query = SELECT.where(t.versions.c.digest == digest, t.versions.c.id < id_of(connection, child))
    found = fetch(connection, query.order_by(t.versions.c.id.desc()).limit(1))
    return found[0] if found else None


def id_of(connection: Connection, version: Version) -> int:
    """The row of a version."""
    query = (
        select(t.versions.c.id)
        .join(t.adapters, t.adapters.c.id == t.versions.c.adapter_id)
        .where(t.adapters.c.name == version.name, t.versions.c.number == version.number)
    )
    found: int = connection.execute(query).scalar_one()
    return found
