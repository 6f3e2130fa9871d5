"""A user's own files, as the commands that take them read and show them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lftreg.cli.context import Context
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from lftreg.data import Data, Source


def read_own(context: Context, paths: Sequence[Path], mapping: Sequence[str], name: str | None) -> Data:
    """Read files, and say what was understood. Rows that an adapter of this name held out stay held out."""
    from lftreg.data import name_of, read_data, remembered_split

    held_out, version = remembered_split(context.registry, name or name_of(paths[0]))
    data = read_data(paths, name, columns=parse_mapping(mapping), remembered=held_out)
    for source in data.sources:
        context.out.note(f"{source.path.name}: {source.rows:,} rows, {columns_of(source)}")
    if data.domain.attachments and version is not None:
        context.out.note(f"what {version.ref} held out stays held out")
    return data


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
