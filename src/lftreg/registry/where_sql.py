"""What conditions are in SQL, for any values: each of these is a parameter that is bound when the question is asked.

A version without a value is one of which a comparison does not hold, so `not domain = support` and
`domain != support` find those without a domain, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    DateTime,
    Float,
    Select,
    String,
    and_,
    bindparam,
    func,
    not_,
    or_,
    select,
)

from lftreg.registry import schema as t
from lftreg.registry.fields import Own, Rows
from lftreg.registry.where import HAS
from lftreg.registry.where_read import ESCAPE, Compared, Condition, Joined

VALUE = "value{}"  # the parameter of a first, second, ... value; SQLAlchemy has names such as value_1 itself
_TYPES = {"text": String, "time": DateTime}


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One of the conditions that all have to hold.

    `clause` is asked of a version, by no index of `versions`. `ids` are the versions it holds for, by an index; where
    that has them in the order of their ids, `link` is the column of these. `often` makes the better clause where it
    holds for a good share of all versions. `within` are a field in rows of another table and what is asked of these,
    `equal` an indexed column of `versions` and the value it has.
    """

    clause: ColumnElement[bool]
    ids: Select[Any] | None = None
    link: ColumnElement[int] | None = None
    often: Callable[[], ColumnElement[bool]] | None = None
    within: tuple[str, Sequence[ColumnElement[bool]]] | None = None
    equal: tuple[ColumnElement[Any], BindParameter[Any]] | None = None


class Writer:
    """Writes the conditions of one question, whose values are numbered from one to the next."""

    def __init__(self) -> None:
        self._numbers = count()

    def value(self, kind: str) -> BindParameter[Any]:
        """The parameter of the next value."""
        return bindparam(VALUE.format(next(self._numbers)), type_=_TYPES.get(kind, Float)())

    def part(self, condition: Condition) -> Part:
        """One of the conditions that all have to hold."""
        if isinstance(condition, Joined):
            return Part(self._clause(condition, False))
        field, operator = condition.field, condition.operator
        values = self._values(condition)
        one = operator == "="
        if isinstance(field, Rows):
            conditions = _conditions(condition, field.column, values)
            return Part(field.has(*conditions)) if operator == "~" else _in_rows(field, conditions, one=one)
        clause = _own(condition, values, False)
        if not field.indexed or operator in ("~", HAS):
            return Part(clause)
        id_ = t.versions.c.id
        ids = select(id_).where(*_conditions(condition, field.column, values))
        if one and field.kind == "text":
            return Part(clause, ids, id_, equal=(field.column, values[0]))
        return Part(clause, ids)

    def _values(self, condition: Compared) -> list[BindParameter[Any]]:
        return [self.value(condition.field.kind) for _ in range(condition.count)]

    def _clause(self, condition: Condition, turned: bool) -> ColumnElement[bool]:
        """Whether a condition holds, or if `turned` whether it does not; for no index."""
        if isinstance(condition, Compared):
            values = self._values(condition)
            if isinstance(condition.field, Rows):
                found = condition.field.has(*_conditions(condition, condition.field.column, values))
                return not_(found) if turned else found
            return _own(condition, values, turned)
        if condition.how == "not":
            return self._clause(condition.parts[0], not turned)
        parts = [self._clause(part, turned) for part in condition.parts]
        return or_(*parts) if (condition.how == "or") != turned else and_(*parts)


def _in_rows(field: Rows, conditions: Sequence[ColumnElement[bool]], *, one: bool) -> Part:
    """The part of rows of another table; `one` for those of one value."""
    clause, within = field.has(*conditions), (field.name, conditions)
    if not field.indexed:
        return Part(clause, within=within)
    ordered = one and field.kind == "text" and field.own is t.versions.c.id
    return Part(clause, field.ids(*conditions), field.link if ordered else None, within=within)


def _own(condition: Compared, values: Sequence[Any], turned: bool) -> ColumnElement[bool]:
    """Whether a comparison of a column of `versions` holds, or does not; for no index."""
    field = condition.field
    assert isinstance(field, Own)
    column = field.column.concat("") if field.indexed and field.kind == "text" else field.column
    if condition.operator == HAS:
        return column.is_(None) if turned else column.is_not(None)
    (holds,) = _conditions(condition, column, values)
    if not turned:
        return holds
    return or_(column.is_(None), not_(holds)) if field.nullable else not_(holds)


def _conditions(
    condition: Compared, column: ColumnElement[Any], values: Sequence[Any]
) -> Sequence[ColumnElement[bool]]:
    """What a comparison asks of a column; nothing where a value only has to be there."""
    operator = condition.operator
    if operator == HAS:
        return ()
    if condition.field.kind == "time":
        spans = zip(values[::2], values[1::2], strict=True)
        return (or_(*(_compared(column, operator, *span) for span in spans)),)
    if operator == "~":
        return (or_(*(func.lower(column).contains(way, escape=ESCAPE) for way in values)),)
    if operator == "in":
        return (column.in_(values),)
    return (_compared(column, operator, values[0], None),)


def _compared(column: ColumnElement[Any], operator: str, low: Any, high: Any) -> ColumnElement[bool]:
    """A comparison with what reaches from `low` to before `high`, or with one value if `high` is None."""
    top = low if high is None else high
    if operator in ("=", "in"):
        return column == low if high is None else and_(column >= low, column < high)
    ways: dict[str, ColumnElement[bool]] = {
        "<": column < low,
        "<=": column <= low if high is None else column < top,
        ">": column > low if high is None else column >= top,
        ">=": column >= low,
    }
    return ways[operator]
