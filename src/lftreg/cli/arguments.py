"""Reading the arguments that several commands share."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from lftreg.errors import UsageError

LONGEST = 9  # digits: more than anybody counts, and less than a database takes


class _Count(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A whole number from 1."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if not str(value).isdecimal() or len(value) > LONGEST or int(value) < 1:
            self.fail(f"{str(value)[:40]!r} is no whole number from 1.", param, ctx)
        return int(value)


COUNT = _Count()
UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_tags(pairs: Sequence[str]) -> dict[str, str]:
    """KEY=VALUE words as a mapping. Raises UsageError for a word of another form."""
    tags = {}
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals or not key:
            raise UsageError(
                f"{pair!r} is no tag", "tags are KEY=VALUE, such as team=desk", code="invalid-tag"
            )
        tags[key] = value
    return tags


def parse_moment(text: str, option: str, *, ahead: bool) -> datetime:
    """A time to come, or one that has been: so long from now, or a date, whose beginning is meant, in UTC.

    Raises UsageError.
    """
    way, example = ("to come", "2030-01-31") if ahead else ("that has been", "2026-01-31")
    wrong = UsageError(f"{option} {text!r} is no time {way}", f"30d, 12h, or a date such as {example}")
    now = datetime.now(UTC)
    try:
        if match := re.fullmatch(r"(\d{1,5})([mhdw])", text):
            distance = timedelta(**{UNITS[match[2]]: int(match[1])})
            return now + distance if ahead else now - distance
        at = datetime.fromisoformat(text)
    except (ValueError, OverflowError) as error:
        raise wrong from error
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    if (at <= now) if ahead else (at > now):
        raise wrong
    return at
