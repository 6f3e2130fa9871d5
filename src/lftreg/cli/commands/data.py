"""`lftreg data`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import Family
from lftreg.cli.context import Context
from lftreg.cli.options import MAP
from lftreg.cli.own_data import columns_of, read_own
from lftreg.cli.tables import print_fields

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.data import Data
    from lftreg.plugins.types import Example

SHOWN = 300  # characters of a text that are shown

command = Family("data", help="Check your own data before training on it.")


@command.define(
    "check",
    examples=("lftreg data check ./inbox.jsonl", "lftreg data check ./tickets.csv --map prompt=Subject"),
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE...")
@MAP
@click.option("--name", metavar="NAME", help="The adapter it is for; what that held out stays held out.")
def check(context: Context, files: Sequence[Path], mapping: Sequence[str], name: str | None) -> None:
    """Say how files are read: columns, rows, splits, and one example.

    The first bad row is named by its number. No model is loaded.
    """
    data = read_own(context, files, mapping, name)
    context.out.result(_document(data), partial(_render, data))
    words = " ".join(f"--data {path}" for path in files)
    context.out.next(f"lftreg train {words} --dry-run")


def _document(data: Data) -> dict[str, Any]:
    return {
        "name": data.domain.name,
        "files": [
            {"path": str(source.path), "rows": source.rows, "columns": dict(source.columns)}
            for source in data.sources
        ],
        "examples": {split: len(rows) for split, rows in data.examples.items()},
        "split_by": data.split_by,
        "labels": list(data.labels) or None,
        "characters": {"longest": max(map(_length, _all(data))), "total": sum(map(_length, _all(data)))},
        "duplicates": len(_all(data)) - len({(e.messages, e.text, e.label) for e in _all(data)}),
        "example": _turns(data.examples["train"][0]),
    }


def _render(data: Data, console: Console) -> None:
    document = _document(data)
    rows = ", ".join(f"{number:,} {split}" for split, number in document["examples"].items())
    print_fields(
        console,
        {
            "name": data.domain.name,
            "columns": "\n".join(f"{columns_of(source)}  ({source.path.name})" for source in data.sources),
            "rows": f"{rows}, by {data.split_by}",
            "labels": ", ".join(data.labels) or None,
            "characters": "{longest:,} in the longest row, {total:,} in all".format(**document["characters"]),
            "duplicates": _twice(document["duplicates"]),
            "example": "\n".join(f"{turn['role']}: {_cut(turn['content'])}" for turn in document["example"]),
        },
    )


def _twice(count: int) -> str | None:
    return f"{count:,} {'row stands' if count == 1 else 'rows stand'} there twice" if count else None


def _all(data: Data) -> list[Example]:
    return [example for rows in data.examples.values() for example in rows]


def _length(example: Example) -> int:
    return len(example.text) + sum(len(message.content) for message in example.messages)


def _turns(example: Example) -> list[dict[str, str]]:
    if example.messages:
        return [{"role": message.role, "content": message.content} for message in example.messages]
    text = [{"role": "text", "content": example.text}]
    return text + ([] if example.label is None else [{"role": "label", "content": example.label}])


def _cut(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[:SHOWN]} ..."
