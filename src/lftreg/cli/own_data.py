"""A user's own files, as the commands that take them read and show them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lftreg.cli.context import Context
from lftreg.errors import LftregError, NotFound, UsageError

if TYPE_CHECKING:
    from lftreg.data import Data, Source


TOLD = 12  # files that are told of one by one


def read_own(
    context: Context, paths: Sequence[str], mapping: Sequence[str], name: str | None, *, tell: bool = True
) -> Data:
    """Read what --data names, and say what was understood unless the caller does.

    Rows that an adapter of this name held out stay held out.
    """
    from lftreg.data import name_of, read_data, remembered_split

    held_out, version = remembered_split(context.registry, name or name_of(paths[0]))
    data = read_data(paths, name, columns=parse_mapping(mapping), remembered=held_out)
    if tell:
        _tell(context, data)
    if data.domain.attachments and version is not None:
        context.out.note(f"what {version.ref} held out stays held out")
    return data


def lasting(words: Sequence[str]) -> list[str]:
    """What --data names, so that it can be found again from another folder."""
    from lftreg.data.wanted import parse_data

    named = []
    for word in words:
        wanted = parse_data(word)
        whole = str(wanted.path.expanduser().absolute()) if wanted.path is not None else str(wanted)
        named.append(whole if wanted.weight == 1 else f"{whole}:{wanted.weight:g}")
    return named


def _tell(context: Context, data: Data) -> None:
    for source in data.sources[:TOLD]:
        weight = f", weight {source.weight:g}" if source.weight != 1 else ""
        left_out = f"; {source.left_out} left out" if source.left_out else ""
        context.out.note(f"{source.name}: {source.rows:,} rows, {columns_of(source)}{weight}{left_out}")
    if len(data.sources) > TOLD:
        rows = sum(source.rows for source in data.sources[TOLD:])
        context.out.note(f"and {len(data.sources) - TOLD} files more, {rows:,} rows")
    if data.shared:
        context.out.note(f"{data.shared:,} rows of train ask what is held out, and are left out")


def parse_mapping(words: Sequence[str]) -> dict[str, str]:
    """ROLE=COLUMN words as a mapping. Raises UsageError for a word of another form, or a role told twice."""
    told: dict[str, str] = {}
    for word in words:
        role, equals, column = word.partition("=")
        if not (role and equals and column):
            raise UsageError(f"{word!r} maps nothing", "write --map prompt=COLUMN", code="invalid-map")
        if role in told:
            raise UsageError(f"--map tells {role} twice", "give one column a role", code="invalid-map")
        told[role] = column
    return told


def columns_of(source: Source) -> str:
    """Which column was taken for what, in words."""
    return ", ".join(
        f"{role} from {column!r}" if role != column else repr(column)
        for role, column in source.columns.items()
    )


def hint_at_data(domains: Sequence[str], error: LftregError) -> LftregError:
    """The error for a domain that is none, with the way to say it where the word names data."""
    from pathlib import Path

    from lftreg.data.formats import READERS

    for word in domains:
        named = word.startswith("hub:") or "/" in word or Path(word).suffix.lower() in READERS
        if named or Path(word).exists():
            return NotFound(
                f"{word} is no domain, which have names such as customer_support",
                f"to train on data of your own: lftreg train --data {shlex.quote(word)}",
                code=error.code,
            )
    return error
