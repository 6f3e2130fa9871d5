"""Between rows and records: the queries that fill a Version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Select, select

from lftreg.registry import schema as t
from lftreg.registry.records import Base, File, Parent, Recipe, Run, Version

SELECT = (
    select(
        t.versions,
        t.adapters.c.name,
        t.bases.c.model_type,
        t.bases.c.parameters.label("base_parameters"),
    )
    .join(t.adapters, t.adapters.c.id == t.versions.c.adapter_id)
    .join(t.bases, t.bases.c.fingerprint == t.versions.c.base)
)


def fetch(connection: Connection, query: Select[Any]) -> list[Version]:
    """Versions of a query built on SELECT, whole, in its order: seven queries however many rows."""
    rows = connection.execute(query).mappings().all()
    ids = [row["id"] for row in rows]
    if not ids:
        return []
    files, tags, aliases = _files(connection, ids), _tags(connection, ids), _aliases(connection, ids)
    runs, recipes = _runs(connection, ids), _recipes(connection, ids)
    return [
        Version(
            name=row["name"],
            number=row["number"],
            digest=row["digest"],
            kind=row["kind"],
            base=Base(row["base"], row["base_id"], row["model_type"], row["base_parameters"]),
            domain=row["domain"],
            rank=row["rank"],
            alpha=row["alpha"],
            target_modules=tuple(row["target_modules"]),
            trainable_parameters=row["trainable_parameters"],
            created_at=row["created_at"].replace(tzinfo=UTC),
            files=tuple(files[row["id"]]),
            aliases=tuple(aliases[row["id"]]),
            tags=dict(tags[row["id"]]),
            run=runs.get(row["id"]),
            recipe=recipes.get(row["id"]),
            removed_at=row["removed_at"] and row["removed_at"].replace(tzinfo=UTC),
        )
        for row in rows
    ]


def now() -> datetime:
    """UTC without a zone, as the columns hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def _files(connection: Connection, ids: Sequence[int]) -> dict[int, list[File]]:
    found: dict[int, list[File]] = defaultdict(list)
    query = select(t.files).where(t.files.c.version_id.in_(ids)).order_by(t.files.c.name)
    for row in connection.execute(query):
        found[row.version_id].append(File(row.name, row.sha256, row.size, row.attachment))
    return found


def _tags(connection: Connection, ids: Sequence[int]) -> dict[int, list[tuple[str, str]]]:
    found: dict[int, list[tuple[str, str]]] = defaultdict(list)
    for row in connection.execute(select(t.tags).where(t.tags.c.version_id.in_(ids)).order_by(t.tags.c.key)):
        found[row.version_id].append((row.key, row.value))
    return found


def _aliases(connection: Connection, ids: Sequence[int]) -> dict[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    query = select(t.aliases).where(t.aliases.c.version_id.in_(ids)).order_by(t.aliases.c.alias)
    for row in connection.execute(query):
        found[row.version_id].append(row.alias)
    return found


def _runs(connection: Connection, ids: Sequence[int]) -> dict[int, Run]:
    names = ("seed", "data_digest", "settings", "libraries", "losses", "examples", "tokens", "seconds")
    rows = connection.execute(select(t.runs).where(t.runs.c.version_id.in_(ids))).mappings()
    return {row["version_id"]: Run(**{name: row[name] for name in names}) for row in rows}


def _recipes(connection: Connection, ids: Sequence[int]) -> dict[int, Recipe]:
    parents: dict[int, list[Parent]] = defaultdict(list)
    query = select(t.parents).where(t.parents.c.version_id.in_(ids)).order_by(t.parents.c.position)
    for row in connection.execute(query):
        parents[row.version_id].append(Parent(row.ref, row.digest, row.weight))
    rows = connection.execute(select(t.recipes).where(t.recipes.c.version_id.in_(ids)))
    return {
        row.version_id: Recipe(row.method, row.options, tuple(parents[row.version_id]), row.relative_error)
        for row in rows
    }
