"""The statements of questions, each written once for all questions of one shape: only the values differ.

To write one takes SQLAlchemy longer than SQLite takes to answer it. What can be asked for is told by `finding`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    false,
    func,
    not_,
    select,
    true,
)

from lftreg.registry import order, words
from lftreg.registry import schema as t
from lftreg.registry.fields import Rows
from lftreg.registry.order import Key
from lftreg.registry.where_read import Condition
from lftreg.registry.where_sql import Part, Writer

KEPT = 64  # shapes of questions, and as many of each of their statements
FEW, LIMIT, OFFSET = "few", "limit", "offset"  # parameters
Marker = Literal["there", "removed", "newest", "said", "nothing"]
_v = t.versions.c
_newer = t.versions.alias("newer")
_MARKED: dict[Marker, ColumnElement[bool]] = {
    "there": _v.removed_at.is_(None),
    "removed": _v.removed_at.is_not(None),
    "newest": ~exists().where(  # no later version of its adapter is there
        _newer.c.adapter_id == _v.adapter_id, _newer.c.number > _v.number, _newer.c.removed_at.is_(None)
    ).correlate(t.versions),
    "nothing": false(),
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Questions of one shape: the parts that all have to hold, and the keys of their order."""

    parts: tuple[Part, ...]
    keys: tuple[Key, ...]

    @property
    def leaders(self) -> list[tuple[int, Part]]:
        """The parts that an index gives the versions of, and their places."""
        return [(at, part) for at, part in enumerate(self.parts) if part.ids is not None]


@dataclass(frozen=True, slots=True)
class Way:
    """How a question is answered: which part leads, whether it holds for few, and which hold for a good share."""

    leader: int | None = None
    few: bool = False
    often: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Page:
    """What is given besides the values: `lacks` tells of each key whether the version behind which it begins has none;
    it is None where the page begins at the first.
    """

    lacks: tuple[bool, ...] | None = None
    limit: bool = False
    offset: bool = False


@lru_cache(KEPT)
def plan(dialect: str, wanted: tuple[Condition | Marker, ...], keys: tuple[Key, ...]) -> Plan:
    """The plan of questions of one shape. `said`, the text, is a value like those of the conditions."""
    writer = Writer()
    return Plan(tuple(_paired([_part(dialect, writer, one) for one in wanted])), keys)


def _part(dialect: str, writer: Writer, one: Condition | Marker) -> Part:
    if one == "said":
        rowid, match = t.words.c.rowid, words.match(dialect, writer.value("text"))
        ids = select(rowid).where(match)
        often = lambda: exists().where(rowid == _v.id, match).correlate(t.versions)  # noqa: E731
        return Part(_v.id.in_(ids), ids, rowid, often)
    return Part(_MARKED[one]) if isinstance(one, str) else writer.part(one)


def _paired(parts: list[Part]) -> list[Part]:
    """Make one part of a base and a domain, which have an index together."""
    found = [
        (part, *part.equal)
        for column in (_v.base_id, _v.domain)
        for part in parts
        if part.equal and part.equal[0] is column
    ]
    if len(found) != 2 or found[0][1] is found[1][1]:
        return parts
    both, columns, values = zip(*found, strict=True)
    ids = select(_v.id).where(*(column == value for column, value in zip(columns, values, strict=True)))
    pair = Part(and_(*(part.clause for part in both)), ids, _v.id)
    return [pair, *(part for part in parts if part not in both)]


@lru_cache(KEPT)
def probe(plan: Plan) -> Select[Any]:
    """The newest id, then how far every part leads.

    Of a part whose index has the order of ids, the FEW newest versions are counted back, and it is the id of the last
    of them, or nothing where there are not so many; of another it is the number of its versions, up to one more.
    """
    probes: list[ColumnElement[Any]] = []
    few = bindparam(FEW, type_=Integer)
    for at, part in plan.leaders:
        assert part.ids is not None
        if part.link is not None:
            probe = part.ids.order_by(part.link.desc()).limit(1).offset(few)
        else:
            probe = select(func.count()).select_from(part.ids.limit(few + 1).subquery())
        probes.append(probe.scalar_subquery().label(f"part_{at}"))
    return select(select(func.max(_v.id)).scalar_subquery(), *probes)


@lru_cache(KEPT)
def ids(plan: Plan, way: Way, page: Page) -> Select[Any]:
    """The versions of a question in its order."""
    if way.few:
        query = _ordered(plan, _led(plan, way), page)
    elif plan.keys:
        query = _ordered(plan, select(_v.id).where(*_clauses(plan, way)), page)
    else:
        query = _newest_first(plan, way, page)
    return _cut(query, page)


@lru_cache(KEPT)
def number(plan: Plan, way: Way) -> Select[Any]:
    """How many versions answer a question."""
    if way.few:
        led = _led(plan, way)
    else:  # every one is looked at: words are cheaper to follow than to ask for
        texts = [at for at, part in enumerate(plan.parts) if part.often is not None]
        way = Way(texts[0] if texts else way.leader)
        led = _newest_first(plan, way, Page()).order_by(None)
    return select(func.count()).select_from(led.subquery())


@lru_cache(KEPT)
def values(keys: tuple[Key, ...]) -> Select[Any]:
    """What a version has of each key."""
    return order.values(keys)


@lru_cache(KEPT)
def with_first(plan: Plan, way: Way, page: Page) -> Select[Any]:
    """The versions that have a value of the first key, which is one in rows of another table, by its index."""
    key = plan.keys[0]
    rows = key.field
    assert isinstance(rows, Rows)
    link = rows.link if rows.own is _v.id else _v.id
    same = [plan.parts[at] for at in _within_first(plan)]
    inside = [condition for part in same if part.within is not None for condition in part.within[1]]
    query = (
        select(link)
        .select_from(rows.column.table.join(t.versions, _joined(rows)))
        .where(*rows.here, *inside, *_clauses(plan, way, _within_first(plan)))
    )
    if page.lacks is not None:
        query = query.where(*order.behind_first(plan.keys, page.lacks, link))
    by_value = rows.column.desc() if key.down else rows.column.asc()
    return _cut(query.order_by(by_value, *order.by(plan.keys[1:], link)), page)


@lru_cache(KEPT)
def without_first(plan: Plan, way: Way, page: Page) -> Select[Any] | None:
    """Those that have none, or None where there are no such."""
    rows = plan.keys[0].field
    assert isinstance(rows, Rows)
    if rows.total or _within_first(plan):
        return None
    query = select(_v.id).where(not_(rows.has()), *_clauses(plan, way))
    if page.lacks is not None and page.lacks[0]:
        query = query.where(order.behind(plan.keys[1:], page.lacks[1:], 1))
    return _cut(query.order_by(*order.by(plan.keys[1:])), page)


def _within_first(plan: Plan) -> list[int]:
    """The places of parts that ask something of the rows that the first key is a value of."""
    rows = plan.keys[0].field
    assert isinstance(rows, Rows)
    return [
        at
        for at, part in enumerate(plan.parts)
        if part.within is not None and part.within[0] == rows.name and rows.single
    ]


def _clauses(plan: Plan, way: Way, but: Sequence[int] = ()) -> list[ColumnElement[bool]]:
    """All that has to hold, apart from some."""
    return [
        part.often() if part.often is not None and at in way.often else part.clause
        for at, part in enumerate(plan.parts)
        if at not in but
    ]


def _led(plan: Plan, way: Way) -> Select[Any]:
    """The versions of a question, where one part gives the few of which the others are asked."""
    assert way.leader is not None
    ids = plan.parts[way.leader].ids
    assert ids is not None
    return select(_v.id).where(_v.id.in_(ids), *_clauses(plan, way, [way.leader]))


def _newest_first(plan: Plan, way: Way, page: Page) -> Select[Any]:
    """By the order in which they were made, of all versions, or along the index of a part."""
    leader = None if way.leader is None else plan.parts[way.leader]
    but = [] if way.leader is None else [way.leader]
    if leader is None or leader.ids is None or leader.link is None:
        leader, but = Part(true(), select(_v.id), _v.id), []
    query, link = leader.ids, leader.link
    assert query is not None and link is not None
    if link is not _v.id:
        query = query.join(t.versions, _v.id == link)
    query = query.where(*_clauses(plan, way, but)).order_by(link.desc())
    return query if page.lacks is None else query.where(link < order.last())


def _ordered(plan: Plan, query: Select[Any], page: Page) -> Select[Any]:
    if page.lacks is not None:
        query = query.where(order.behind(plan.keys, page.lacks))
    return query.order_by(*order.by(plan.keys))


def _joined(rows: Rows) -> ColumnElement[bool]:
    """What joins the rows of a field to versions, so that the rows come first."""
    return (rows.link if rows.own is _v.id else rows.link + 0) == rows.own


def _cut(query: Select[Any], page: Page) -> Select[Any]:
    if page.limit:
        query = query.limit(bindparam(LIMIT, type_=BigInteger))
    return query.offset(bindparam(OFFSET, type_=BigInteger)) if page.offset else query
