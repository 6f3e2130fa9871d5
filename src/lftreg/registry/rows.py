"""Between rows and records: the queries that fill a Version."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Executable,
    Float,
    Insert,
    Integer,
    Select,
    String,
    Table,
    bindparam,
    case,
    cast,
    insert,
    literal,
    null,
    select,
    union_all,
)

from lftreg.registry import schema as t
from lftreg.registry.records import Base, File, Parent, Recipe, Run, Version

T = TypeVar("T")
Which = Callable[[Any], ColumnElement[bool]]  # of a column of ids
AT_ONCE = 500  # ids of one question: far below what any database allows
SIZES = (1, 2, 5, 10, 20, 50)  # of questions that are written once, for so many ids
_VERSION = (
    "id", "number", "digest", "kind", "base", "base_id", "domain", "rank", "alpha", "target_modules",
    "trainable_parameters", "created_at", "removed_at", "damage",
)  # fmt: skip
_RUN = ("seed", "data_digest", "settings", "libraries", "losses", "examples", "tokens", "seconds")
SELECT = (
    select(
        *(t.versions.c[name] for name in _VERSION),
        t.adapters.c.name,
        t.bases.c.model_type,
        t.bases.c.parameters.label("base_parameters"),
        t.runs.c.version_id.label("run_of"),
        *(t.runs.c[name] for name in _RUN),
        t.recipes.c.method,
        t.recipes.c.options,
        t.recipes.c.relative_error,
    )
    .join(t.adapters, t.adapters.c.id == t.versions.c.adapter_id)
    .join(t.bases, t.bases.c.fingerprint == t.versions.c.base)
    .outerjoin(t.runs, t.runs.c.version_id == t.versions.c.id)
    .outerjoin(t.recipes, t.recipes.c.version_id == t.versions.c.id)
)
_FILE, _TAG, _ALIAS, _PARENT = range(4)


def fetch(connection: Connection, query: Select[Any]) -> list[Version]:
    """Versions of a query built on SELECT, whole, in its order: two queries for every AT_ONCE rows."""
    return [version for _, version in fetch_pairs(connection, query)]


def fetch_pairs(
    connection: Connection, query: Select[Any], asked: Mapping[str, Any] | None = None
) -> list[tuple[int, Version]]:
    """Versions of a query built on SELECT, each with its id; `asked` are the values of its parameters."""
    return list(_filled(connection, connection.execute(query, asked or {}).all()))


def fetch_ids(connection: Connection, ids: Sequence[int]) -> list[Version]:
    """Versions by their ids, in the order of these; what is not there is left out."""
    found: dict[int, Version] = {}
    for some in chunks(ids):
        query, asked = _of(_versions_of, some)
        found.update(_filled(connection, connection.execute(query, asked).all()))
    return [found[id_] for id_ in ids if id_ in found]


@cache
def adding(table: Table) -> Insert:
    """INSERT of a table, which is given its rows when it is asked."""
    return insert(table)


def chunks(ids: Sequence[T]) -> Iterator[Sequence[T]]:
    """The same, AT_ONCE at a time."""
    for at in range(0, len(ids), AT_ONCE):
        yield ids[at : at + AT_ONCE]


def now() -> datetime:
    """UTC without a zone, as the columns hold it."""
    return datetime.now(UTC).replace(tzinfo=None)


def _filled(connection: Connection, rows: Sequence[Any]) -> Iterator[tuple[int, Version]]:
    for at in range(0, len(rows), AT_ONCE):
        some = rows[at : at + AT_ONCE]
        details = _details(connection, [row[0] for row in some])
        for row in some:
            yield row[0], _version(row, details[row[0]])


def _version(row: Sequence[Any], details: Mapping[int, list[Any]]) -> Version:
    """The record of a row of SELECT, whose columns stand in this order."""
    _, number, digest, kind, base, base_id, domain, rank, alpha, targets, parameters = row[:11]
    created_at, removed_at, damage, name, model_type, of_base, run_of, *run = row[11:-3]
    method, options, error = row[-3:]
    recipe = None
    if method is not None:
        parents = tuple(Parent(*one[1:]) for one in sorted(details[_PARENT]))
        recipe = Recipe(method, options, parents, error)
    return Version(
        name=name,
        number=number,
        digest=digest,
        kind=kind,
        base=Base(base, base_id, model_type, of_base),
        domain=domain,
        rank=rank,
        alpha=alpha,
        target_modules=tuple(targets),
        trainable_parameters=parameters,
        created_at=created_at.replace(tzinfo=UTC),
        files=tuple(File(*one) for one in sorted(details[_FILE])),
        aliases=tuple(sorted(details[_ALIAS])),
        tags=dict(sorted(details[_TAG])),
        run=None if run_of is None else Run(*run),
        recipe=recipe,
        removed_at=None if removed_at is None else removed_at.replace(tzinfo=UTC),
        damage=damage,
    )


def _versions_of(which: Which) -> Select[Any]:
    return SELECT.where(which(t.versions.c.id))


def _parts_of(which: Which) -> CompoundSelect[Any]:
    """What a version has several of, as one query: their kind, the version, two texts, a number and a weight."""

    def part(kind: int, table: Table, *columns: Any) -> Select[Any]:
        return select(literal(kind).label("kind"), table.c.version_id, *columns).where(
            which(table.c.version_id)
        )

    none = cast(null(), String)
    files, parents = t.files.c, t.parents.c
    return union_all(
        part(
            _FILE,
            t.files,
            files.name.label("a"),
            files.sha256.label("b"),
            files.size.label("n"),
            _weight(files),
        ),
        part(_TAG, t.tags, t.tags.c.key, t.tags.c.value, literal(0), literal(0.0, Float)),
        part(_ALIAS, t.aliases, t.aliases.c.alias, none, literal(0), literal(0.0, Float)),
        part(_PARENT, t.parents, parents.ref, parents.digest, parents.position, parents.weight),
    )


def _weight(files: Any) -> Any:
    """Of a file: 1 for an attachment."""
    return case((files.attachment, 1.0), else_=0.0).label("w")


@cache  # as many as there are SIZES, and one
def _written(build: Callable[[Which], Executable], size: int | None) -> Executable:
    """A question about so many ids, or about any number, which takes longer to ask."""
    if size is None:
        return build(lambda column: column.in_(bindparam("ids", expanding=True)))
    if size == 1:
        return build(lambda column: column == bindparam("id0"))
    return build(lambda column: column.in_([bindparam(f"id{n}", type_=Integer) for n in range(size)]))


def _of(build: Callable[[Which], Executable], ids: Sequence[int]) -> tuple[Executable, dict[str, Any]]:
    """A question about these ids, and its values: the last id fills it up, for it is found only once."""
    size = next((size for size in SIZES if size >= len(ids)), None)
    if size is None:
        return _written(build, None), {"ids": ids}
    full = [*ids, *[ids[-1]] * (size - len(ids))]
    return _written(build, size), {f"id{n}": id_ for n, id_ in enumerate(full)}


def _details(connection: Connection, ids: Sequence[int]) -> dict[int, dict[int, list[Any]]]:
    found: dict[int, dict[int, list[Any]]] = {id_: defaultdict(list) for id_ in ids}
    query, asked = _of(_parts_of, ids)
    for kind, id_, a, b, number, weight in connection.execute(query, asked).all():
        if kind == _FILE:
            value: Any = (a, b, number, bool(weight))
        elif kind == _TAG:
            value = (a, b)
        elif kind == _ALIAS:
            value = a
        else:
            value = (number, a, b, weight)
        found[id_][kind].append(value)
    return found
