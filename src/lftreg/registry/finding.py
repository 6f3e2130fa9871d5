"""Finding versions: by filter, by `--where`, by words, in any order, page by page.

Of what has to hold, the rarest leads: a condition that few versions meet gives these by its own index, and the rest is
asked of them. Where none is rare, versions are looked at in the order that is wanted until a page is full.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, select

from lftreg.registry import order, plans, where, where_read, where_sql, words
from lftreg.registry import schema as t
from lftreg.registry.fields import FIELDS, Rows, is_measured, named, tag
from lftreg.registry.lookup import find_pair
from lftreg.registry.order import Key
from lftreg.registry.plans import Marker, Page, Plan, Way
from lftreg.registry.records import Version
from lftreg.registry.ref import Ref
from lftreg.registry.rows import chunks, fetch_ids
from lftreg.registry.where_read import Asked, Condition, Names

FEW = 500  # versions that one condition may hold for to lead whatever the order
OFTEN = 10  # one version in so many


@dataclass(slots=True)
class Question:
    """What versions are wanted: those of which all holds, in the order of the keys, behind the one of id `after`.

    `wanted` and `keys` are its shape; `values` are those of `wanted`, one after the other.
    """

    wanted: list[Condition | Marker] = field(default_factory=list)
    values: list[Any] = field(default_factory=list)
    keys: tuple[Key, ...] = ()
    after: int | None = None

    def add(self, one: Asked) -> None:
        condition, values = one
        self.wanted.append(condition)
        self.values += values

    def say(self, connection: Connection, text: str) -> None:
        """Every word of the text has to begin a word of a version. What has no words is not found."""
        sought = words.sought(connection, text)
        if sought is not None:
            self.wanted.append("said")
            self.values.append(sought)
        elif text.strip():
            self.wanted.append("nothing")

    def plan(self, connection: Connection, *, ordered: bool = True) -> Plan:
        return plans.plan(connection.dialect.name, tuple(self.wanted), self.keys if ordered else ())

    def given(self) -> dict[str, Any]:
        """The parameters of the values."""
        return {where_sql.VALUE.format(n): value for n, value in enumerate(self.values)}


def select_versions(
    connection: Connection,
    *,
    text: str = "",
    all_versions: bool = False,
    name: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    kind: str | None = None,
    digest: str | None = None,
    tags: Mapping[str, str] | None = None,
    removed: bool = False,
    where: str | None = None,
    sort: str | None = None,
    limit: int | None = None,
    after: str | Ref | None = None,
) -> list[Version]:
    """Versions newest first, or in the order of `sort`; one an adapter unless `all_versions`.

    `base` is an id or a fingerprint; every word of `text` begins a word of what is known about the version; `where` is
    an expression, `sort` a list of fields as in `-bleu,name`. `limit` and `after`, a REF, make a page. Raises
    UsageError for an expression or a field that cannot be read, NotFound for an `after` that is not there.
    """
    asked = Question()
    for one in filters(name=name, domain=domain, base=base, kind=kind, digest=digest, tags=tags):
        asked.add(one)
    asked.wanted.append("removed" if removed else "there")
    names = Names(connection)
    if where is not None:
        for one in where_read.read(names, where):
            asked.add(one)
    asked.keys = order.read(names, sort)
    if not all_versions and not removed:
        asked.wanted.append("newest")
    if after is not None:
        asked.after, _ = find_pair(connection, after, removed=True)
    asked.say(connection, text)
    return fetch_ids(connection, ids_of(connection, asked, limit))


def filters(
    *,
    name: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    kind: str | None = None,
    digest: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> list[Asked]:
    """The conditions of plain filters."""
    asked = []
    for field_name, value in (("name", name), ("domain", domain), ("kind", kind), ("digest", digest)):
        if value is not None:
            asked.append(where_read.equal(FIELDS[field_name], value))
    if base is not None:
        asked.append(where_read.of_base(base))
    asked += [where_read.equal(tag(key), value) for key, value in (tags or {}).items()]
    return asked


def ids_of(
    connection: Connection, asked: Question, limit: int | None = None, offset: int | None = None
) -> list[int]:
    """The versions of a question, in its order."""
    plan, given = asked.plan(connection), asked.given()
    way = _way(connection, plan, given)
    lacks: tuple[bool, ...] | None = None
    if asked.after is not None:
        values = _values(connection, plan.keys, asked.after)
        lacks = tuple(value is None for value in values)
        given |= {order.VALUE.format(n): value for n, value in enumerate(values)} | {order.LAST: asked.after}
    page = Page(lacks, limit is not None, bool(offset))
    given |= {plans.LIMIT: limit, plans.OFFSET: offset}
    if not way.few and plan.keys and isinstance(plan.keys[0].field, Rows) and offset is None:
        return _led_by_first(connection, plan, way, page, given)
    return list(connection.scalars(plans.ids(plan, way, page), given))


def count(connection: Connection, asked: Question) -> int:
    """How many versions answer a question."""
    plan, given = asked.plan(connection, ordered=False), asked.given()
    way = _way(connection, plan, given)
    found: int = connection.execute(plans.number(plan, way), given).scalar_one()
    return found


def measured(
    connection: Connection, versions: Sequence[Version], names: Sequence[str]
) -> list[dict[str, float]]:
    """What was measured of versions, by the names that fields have; a version lacks what it has no value of."""
    found: list[dict[str, float]] = [{} for _ in versions]
    places = {(version.name, version.number): at for at, version in enumerate(versions)}
    v, m = t.versions.c, t.measures.c
    for name in names:
        rows = named(connection, name)
        if not isinstance(rows, Rows):
            continue
        query = (
            select(t.adapters.c.name, v.number, m.value)
            .select_from(t.versions)
            .join(t.adapters, t.adapters.c.id == v.adapter_id)
            .join(t.measures, m.version_id == v.id)
            .where(*rows.here)
        )
        digests = list(dict.fromkeys(version.digest for version in versions))
        for some in chunks(digests):
            for adapter, number, value in connection.execute(query.where(v.digest.in_(some))):
                if (adapter, number) in places:
                    found[places[adapter, number]][name] = value
    return found


def figures(where_: str | None, sort: str | None) -> list[str]:
    """The metrics and losses that an expression and an order name, as they were written."""
    told = [test.field.text for test in where.tests(where.parse(where_))] if where_ is not None else []
    told += [name for name, _ in order.parse(sort)]
    return [name for name in dict.fromkeys(told) if is_measured(name) and is_measured(name.lower())]


def _way(connection: Connection, plan: Plan, given: Mapping[str, Any]) -> Way:
    """Which part leads: one that holds for few versions, or else the one that holds for fewest in the order of ids."""
    leaders = plan.leaders
    if not leaders or (len(leaders) == 1 and leaders[0][1].link is not None and not plan.keys):
        return Way(leaders[0][0] if leaders else None)
    found = connection.execute(plans.probe(plan), {**given, plans.FEW: FEW}).one()
    newest, reaches = found[0], dict(zip((at for at, _ in leaders), found[1:], strict=True))
    sizes = {at: FEW if reach is None else reach for at, reach in reaches.items()}
    few = [at for at, part in leaders if (reaches[at] is None if part.link is not None else sizes[at] <= FEW)]
    if few:
        return Way(min(few, key=sizes.__getitem__), few=True)
    often = tuple(at for at, part in leaders if part.often is not None and newest - reaches[at] < FEW * OFTEN)
    ordered = [at for at, part in leaders if part.link is not None]
    return Way(min(ordered, key=sizes.__getitem__) if ordered else None, often=often)


def _values(connection: Connection, keys: tuple[Key, ...], version_id: int) -> Sequence[Any]:
    """What a version has of each key."""
    return connection.execute(plans.values(keys), {order.ID: version_id}).one() if keys else ()


def _led_by_first(
    connection: Connection, plan: Plan, way: Way, page: Page, given: Mapping[str, Any]
) -> list[int]:
    """Those that have a value of the first key, by the index of it; then those that have none."""
    found: list[int] = []
    if page.lacks is None or not page.lacks[0]:
        found = list(connection.scalars(plans.with_first(plan, way, page), given))
    limit = given[plans.LIMIT]
    others = plans.without_first(plan, way, page)
    if others is None or (limit is not None and len(found) >= limit):
        return found
    left = None if limit is None else limit - len(found)
    return found + list(connection.scalars(others, {**given, plans.LIMIT: left}))
