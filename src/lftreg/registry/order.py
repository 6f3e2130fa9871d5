"""`--sort`: in which order versions stand, and what stands behind one of them.

Whatever is asked for, equals stand newest first, and what has no value stands last. A page begins behind a version, not
at a number, so that a deep page costs what the first costs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, ColumnElement, Integer, Select, and_, bindparam, or_, select, tuple_

from lftreg.errors import UsageError
from lftreg.registry import schema as t
from lftreg.registry.fields import Field, Rows
from lftreg.registry.where import LONGEST
from lftreg.registry.where_read import Names

MOST = 8  # fields
CODE = "invalid-sort"
ID, LAST = "version_id", "last"  # the parameters of a version's id, and of the id a page begins behind
VALUE = "key{}"  # and of what that one has of the first, second, ... key


@dataclass(frozen=True, slots=True)
class Key:
    field: Field
    down: bool

    @property
    def may_lack(self) -> bool:
        return not self.field.total if isinstance(self.field, Rows) else self.field.nullable


def read(names: Names, text: str | None) -> tuple[Key, ...]:
    """The keys of `-bleu,name`. Raises UsageError for what cannot be read or sorted by."""
    return tuple(_key(names, *one) for one in parse(text))


def parse(text: str | None) -> list[tuple[str, bool]]:
    """Names of fields, and whether the largest comes first."""
    if text is None:
        return []
    names = [part.strip() for part in text.split(",")]
    if not all(name.removeprefix("-") for name in names):
        raise UsageError(f"{text[:80]!r} names nothing to sort by", "such as: -bleu,name", code=CODE)
    if len(names) > MOST or len(text) > LONGEST:
        raise UsageError(f"more than {MOST} fields to sort by", code=CODE)
    return [(name.removeprefix("-"), name.startswith("-")) for name in names]


def by(keys: Sequence[Key], id_: ColumnElement[int] = t.versions.c.id) -> list[ColumnElement[Any]]:
    """What ORDER BY says of these keys."""
    said = []
    for key in keys:
        value = key.field.value
        one = value.desc() if key.down else value.asc()
        said.append(one.nulls_last() if key.may_lack else one)
    return [*said, id_.desc()]


def behind(keys: Sequence[Key], lacks: Sequence[bool], nth: int = 0) -> ColumnElement[bool]:
    """Whether a version stands behind the LAST one, of which `lacks` says which of the keys it has no value of."""
    if not keys:
        return t.versions.c.id < last()
    key, column = keys[0], keys[0].field.value
    rest = behind(keys[1:], lacks[1:], nth + 1)
    if lacks[0]:
        return and_(column.is_(None), rest)
    value = of_last(key, nth)
    beyond = column < value if key.down else column > value
    same = and_(column == value, rest)
    return or_(beyond, same, column.is_(None)) if key.may_lack else or_(beyond, same)


def behind_first(
    keys: Sequence[Key], lacks: Sequence[bool], link: ColumnElement[int]
) -> list[ColumnElement[bool]]:
    """The same where the first key drives the question, so that its index leads to the place at once."""
    key, column, value = keys[0], keys[0].field.column, of_last(keys[0], 0)
    if key.down and not keys[1:] and link is not t.versions.c.id:
        return [tuple_(column, link) < tuple_(value, last())]
    reach = column <= value if key.down else column >= value
    beyond = column < value if key.down else column > value
    return [reach, or_(beyond, behind(keys[1:], lacks[1:], 1))]


def last() -> BindParameter[int]:
    """The id that a page begins behind."""
    return bindparam(LAST, type_=Integer)


def of_last(key: Key, nth: int) -> BindParameter[Any]:
    """What the version of that id has of a key."""
    return bindparam(VALUE.format(nth), type_=key.field.column.type)


def values(keys: Sequence[Key]) -> Select[Any]:
    """What the version ID has of each key."""
    columns = [key.field.value.label(VALUE.format(n)) for n, key in enumerate(keys)]
    return select(*columns).where(t.versions.c.id == bindparam(ID))


def _key(names: Names, name: str, down: bool) -> Key:
    if any(c == "\0" or "\ud800" <= c <= "\udfff" for c in name):
        raise UsageError(f"{name!r} is nothing to sort by", code=CODE)
    field = names.find(name)
    if field is None:
        message, hint = names.unknown(name)
        raise UsageError(message, hint, code="unknown-field")
    if isinstance(field, Rows) and not field.single:
        raise UsageError(f"a version may have several of {name!r}: that is no order", code=CODE)
    return Key(field, down)
