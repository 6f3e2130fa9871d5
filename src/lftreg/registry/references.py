"""Whether what rows refer to is there: asked as the database could have held it, and of what it could not hold."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import Connection, exists, func, select

from lftreg.errors import LftregError
from lftreg.registry import schema as t
from lftreg.registry.records import Problem
from lftreg.registry.ref import parse_ref


def problems(connection: Connection) -> list[Problem]:
    """Everything that refers to nothing, or to what it must not."""
    return [*_database(connection), *_foreign_keys(connection), *_aliases(connection)]


def notes(connection: Connection) -> Iterator[str]:
    """Parents that this registry never had. Those that were purged are no news."""
    p, v, a = t.parents.c, t.versions.c, t.adapters.c
    query = (
        select(a.name, v.number, p.ref, p.digest)
        .select_from(t.parents)
        .join(t.versions, v.id == p.version_id)
        .join(t.adapters, a.id == v.adapter_id)
        .where(p.digest.not_in(select(v.digest)))
        .order_by(v.id, p.position)
    )
    last = {row.name: row.last_number for row in connection.execute(select(a.name, a.last_number))}
    for name, number, ref, digest in connection.execute(query):
        try:
            parent = parse_ref(ref)
        except LftregError:
            parent = None
        if parent is None or (parent.number or 1) > last.get(str(parent.name), 0):
            yield f"{name}@{number} was made of {ref} ({digest[:12]}), which was never here"


def _database(connection: Connection) -> Iterator[Problem]:
    if connection.dialect.name == "sqlite":
        for (line,) in connection.exec_driver_sql("PRAGMA integrity_check(20)"):
            if line != "ok":
                yield Problem("database", "damaged-database", line)


def _foreign_keys(connection: Connection) -> Iterator[Problem]:
    for name, table in t.metadata.tables.items():
        for key in table.foreign_keys:
            target = key.column.table.alias("target")
            there = exists().where(target.c[key.column.name] == key.parent)
            query = select(func.count()).select_from(table).where(key.parent.is_not(None), ~there)
            lost = connection.scalar(query)
            if lost:
                what = f"{lost} {'row refers' if lost == 1 else 'rows refer'} by {key.parent.name} to"
                yield Problem(name, "missing-row", f"{what} {key.column.table.name} that are not there")


def _aliases(connection: Connection) -> Iterator[Problem]:
    a, v = t.aliases.c, t.versions.c
    query = select(t.adapters.c.name, a.alias).join(t.aliases, a.adapter_id == t.adapters.c.id)
    query = query.join(t.versions, v.id == a.version_id).where(v.adapter_id != a.adapter_id)
    for name, alias in connection.execute(query):
        yield Problem(f"{name}@{alias}", "stray-alias", "the alias points at a version of another adapter")
