"""What the comparisons of `--where` and plain filters ask: of which fields, how, and for which values.

The values stand apart from the rest, which is the shape of a question: questions of one shape have one SQL, see
`where_sql` and `plans`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from sqlalchemy import Connection

from lftreg.errors import UsageError
from lftreg.registry import fields
from lftreg.registry.fields import Field
from lftreg.registry.where import HAS, Every, Node, Not, Some, Test, Token, parse, wrong

_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)([A-Za-z]*)")
_AGE = re.compile(r"([0-9]{1,6})(min|h|d|w|y)")
_AGES = {
    "min": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1),
    "y": timedelta(days=365),
}  # fmt: skip
_UNITS = {
    "number": {"": 1.0},
    "count": {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9, "t": 1e12},
    "bytes": {
        "": 1.0, "b": 1.0, "kb": 1e3, "mb": 1e6, "gb": 1e9, "tb": 1e12,
        "kib": 2.0**10, "mib": 2.0**20, "gib": 2.0**30, "tib": 2.0**40,
    },
}  # fmt: skip
_WANTED = {
    "number": "a number",
    "count": "a number such as 1000000 or 1M",
    "bytes": "a size such as 500000 or 10MB",
    "time": "a date such as 2026-11-01, or an age such as 7d (min, h, d, w, y)",
}
FINGERPRINT = re.compile(r"(?:sha256:)?([0-9a-f]{64})")
ESCAPE = "/"  # what stands before a letter that LIKE would take for any
Span = tuple[datetime, datetime]  # from the first to before the second


@dataclass(frozen=True, slots=True)
class Compared:
    """A comparison without its values, of which there are so many; `operator` is one of = < <= > >= ~ in, or HAS.

    A moment is two values, from when to before when; a text to look for stands as LIKE takes it, with ESCAPE.
    """

    field: Field
    operator: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Joined:
    """Conditions of which all have to hold, or some, or the only one not."""

    how: Literal["and", "or", "not"]
    parts: tuple[Condition, ...]


Condition = Compared | Joined
Asked = tuple[Condition, Sequence[Any]]  # with its values, in the order of its comparisons


class Names:
    """The fields that a question names: each is looked for once."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._known: dict[str, Field | None] = {}

    def find(self, name: str) -> Field | None:
        if name not in self._known:
            self._known[name] = fields.named(self._connection, name)
        return self._known[name]

    def unknown(self, name: str) -> tuple[str, str]:
        return fields.unknown(self._connection, name)


def equal(field: Field, value: str) -> Asked:
    """That a version has this value."""
    return Compared(field, "="), (value,)


def of_base(base: str) -> Asked:
    """On a base of this fingerprint, or of this id."""
    fingerprint = FINGERPRINT.fullmatch(base)
    if fingerprint is None:
        return equal(fields.FIELDS["base"], base)
    return equal(fields.FINGERPRINT, fingerprint.group(1))


def read(names: Names, text: str) -> Iterator[Asked]:
    """The conditions of an expression that all have to hold. Raises UsageError for what cannot be read or known."""
    for node in _together(parse(text)):
        reader = _Reader(names, text)
        yield reader.condition(node), reader.values


def _together(node: Node) -> Iterator[Node]:
    """Conditions that all have to hold, one by one."""
    if isinstance(node, Every):
        for part in node.parts:
            yield from _together(part)
    else:
        yield node


class _Reader:
    def __init__(self, names: Names, text: str) -> None:
        self.names, self.text = names, text
        self.values: list[Any] = []

    def condition(self, node: Node) -> Condition:
        if isinstance(node, Not):
            return Joined("not", (self.condition(node.inner),))
        if not isinstance(node, Test):
            how: Literal["and", "or"] = "or" if isinstance(node, Some) else "and"
            return Joined(how, tuple(self.condition(part) for part in node.parts))
        field = self.field(node)
        values = self.compared(node, field)
        self.values += values
        return Compared(field, node.operator, len(values))

    def field(self, test: Test) -> Field:
        name = test.field.text
        field = self.names.find(name) or self.names.find(_lower(name))
        if field is None:
            message, hint = self.names.unknown(name)
            raise wrong(self.text, test.field.at, message, hint, "unknown-field")
        if field.name == "base" and test.operator in ("=", "in"):
            wanted = [FINGERPRINT.fullmatch(value.text) is not None for value in test.values]
            if any(wanted):
                if not all(wanted):
                    raise self.error(test.values[0], "ids and fingerprints of bases do not go into one `in`")
                return fields.FINGERPRINT
        return field

    def compared(self, test: Test, field: Field) -> Sequence[Any]:
        """The values of a comparison; none where a value only has to be there."""
        if test.operator == HAS:
            return ()
        if field.kind == "text":
            return self.texts(test, field)
        if test.operator == "~":
            raise self.error(
                test.field, f"{field.name} is no text, so it contains nothing", "one of = != < <= > >= in"
            )
        if field.kind == "time":
            return [moment for value in test.values for moment in self.span(value)]
        return [self.number(value, field) for value in test.values]

    def texts(self, test: Test, field: Field) -> Sequence[str]:
        values = [_value(field, value) for value in test.values]
        if test.operator in ("=", "in"):
            return values
        if test.operator == "~":  # SQLite knows the lower case of ASCII, PostgreSQL of more
            return [_escaped(way) for way in sorted({_lower(values[0]), values[0].lower()})]
        raise self.error(
            test.field, f"{field.name} is text, which is neither more nor less", "one of = != ~ in"
        )

    def number(self, value: Token, field: Field) -> float:
        found = _NUMBER.fullmatch(value.text)
        unit = None if found is None else _UNITS[field.kind].get(found.group(2).lower())
        number = float(found.group(1)) * unit if found is not None and unit is not None else None
        if number is None or abs(number) > 1e300:
            raise self.error(value, f"{field.name} is compared with {_WANTED[field.kind]}")
        return number

    def span(self, value: Token) -> Span:
        """The moments that a date or an age means."""
        found = span(value.text)
        if found is None:
            raise self.error(value, f"created is compared with {_WANTED['time']}")
        return found

    def error(self, token: Token, message: str, hint: str | None = None) -> UsageError:
        return wrong(self.text, token.at, message, hint)


def span(text: str) -> Span | None:
    """A day, a second or a microsecond in UTC, from its beginning to its end; an age is the moment so long ago."""
    age = _AGE.fullmatch(text)
    try:
        if age:
            at = datetime.now(UTC).replace(tzinfo=None) - int(age.group(1)) * _AGES[age.group(2)]
            return at, at
        at = datetime.fromisoformat(text)
        if at.tzinfo is not None:
            at = at.astimezone(UTC).replace(tzinfo=None)
        whole = timedelta(days=1) if len(text) <= 10 else timedelta(seconds=1)
        return at, at + (timedelta(microseconds=1) if at.microsecond else whole)
    except (ValueError, OverflowError):
        return None


def _value(field: Field, value: Token) -> str:
    """A text as the column has it."""
    return value.text.removeprefix("sha256:") if field.name in ("base", "digest") else value.text


def _lower(text: str) -> str:
    """ASCII in lower case, all else as it is."""
    return "".join(c.lower() if c.isascii() else c for c in text)


def _escaped(text: str) -> str:
    """A text of which LIKE takes every letter as it is."""
    for special in (ESCAPE, "%", "_"):
        text = text.replace(special, ESCAPE + special)
    return text
