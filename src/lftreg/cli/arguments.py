"""Reading the arguments that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from lftreg.errors import UsageError


class _Count(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A whole number from 1."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        if not str(value).isdecimal() or int(value) < 1:
            self.fail(f"{value!r} is no whole number from 1.", param, ctx)
        return int(value)


COUNT = _Count()


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
