"""`lftreg data`"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import data_view
from lftreg.cli.command import Family
from lftreg.cli.complete import DATA
from lftreg.cli.context import Context
from lftreg.cli.options import MAP
from lftreg.cli.own_data import columns_of, read_own
from lftreg.cli.tables import print_fields
from lftreg.errors import LftregError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.data import Data
    from lftreg.data.overlap import Overlap
    from lftreg.objectives.measure import Measured
    from lftreg.plugins.types import Example, Message

MANY = 12  # files that are shown one by one

command = Family("data", help="Check your own data before training on it.")


@dataclass(frozen=True, slots=True)
class _Checked:
    """All that a check finds. `measured` is None where there is no base to measure with."""

    data: Data
    overlap: Overlap
    base: str
    measured: Measured | None


@command.define(
    "check",
    examples=(
        "lftreg data check ./inbox.jsonl",
        "lftreg data check ./tickets.csv --map prompt=Subject",
        "lftreg data check ./letters hub:org/name:0.5 --max-length 512",
    ),
)
@click.argument("files", nargs=-1, required=True, type=DATA, metavar="FILE[:WEIGHT]...")
@MAP
@click.option("--name", metavar="NAME", help="The adapter it is for; what that held out stays held out.")
@click.option("--base", metavar="BASE", help="Whose tokens are counted: starter, a folder, or a hub id.")
@click.option(
    "--max-length", type=int, metavar="N", help="Rows of more tokens are left out, as in `lftreg train`."
)
def check(
    context: Context,
    files: Sequence[str],
    mapping: Sequence[str],
    name: str | None,
    base: str | None,
    max_length: int | None,
) -> None:
    """Say how files are read: columns, rows, splits, tokens, and what a base learns of three of them.

    The first bad row is named by its number. No model is loaded.
    """
    from lftreg.data.overlap import find_overlap

    if max_length is not None and max_length < 1:
        raise UsageError(f"--max-length {max_length} makes no sense", "give 1 or more")
    data = read_own(context, files, mapping, name, tell=False)
    spec = base or context.settings.base
    try:
        measured = _measure(data, spec, max_length)
    except LftregError as error:
        if base is not None or max_length is not None:
            raise
        measured = None
        context.out.warn(f"tokens are not counted: {error.message}", "lftreg data check --base BASE ...")
    checked = _Checked(data, find_overlap(data.examples), spec, measured)
    context.out.result(_document(checked), partial(_render, checked))
    words = " ".join(f"--data {shlex.quote(path)}" for path in files)
    context.out.next(f"lftreg train {words} --dry-run")


def _measure(data: Data, spec: str, max_length: int | None) -> Measured:
    """Tokens by the base's own tokenizer, of whose weights nothing is read."""
    from lftreg.models.base import read_base
    from lftreg.models.light import light_tokenizer
    from lftreg.models.load import folder_stop_ids, folder_tokenizer
    from lftreg.models.tasks import length_limit, training_task
    from lftreg.objectives.measure import measure

    name, folder, config, _ = read_base(spec)
    tokenizer = light_tokenizer(folder) or folder_tokenizer(folder, name)
    task = training_task(config, labelled=bool(data.labels))
    return measure(
        data.examples,
        tokenizer,
        task,
        length_limit(config, max_length),
        stop_ids=folder_stop_ids(folder, name),
        labels=data.labels,
    )


def _document(checked: _Checked) -> dict[str, Any]:
    data, measured = checked.data, checked.measured
    return {
        "name": data.domain.name,
        "files": [
            {
                "path": str(source.path),
                "rows": source.rows,
                "columns": dict(source.columns),
                "name": source.name,
                "weight": source.weight,
                "sha256": source.sha256,
                "split": source.split,
                "files": source.files,
                "left_out": source.left_out or None,
            }
            for source in data.sources
        ],
        "examples": {split: len(rows) for split, rows in data.examples.items()},
        "split_by": data.split_by,
        "labels": list(data.labels) or None,
        "characters": {"longest": max(map(_length, _all(data))), "total": sum(map(_length, _all(data)))},
        "duplicates": len(_all(data)) - len(set(_all(data))),
        "example": _turns(data.examples["train"][0]),
        "rows_a_pass": data.trained,
        "shared": data.shared,
        "overlap": data_view.overlap_document(checked.overlap),
        "base": checked.base,
        "tokens": None if measured is None else data_view.tokens_document(measured),
        "shown": [] if measured is None else [data_view.shown_document(one) for one in measured.shown],
    }


def _render(checked: _Checked, console: Console) -> None:
    data, measured = checked.data, checked.measured
    document = _document(checked)
    rows = ", ".join(f"{number:,} {split}" for split, number in document["examples"].items())
    weighted = any(source.weight != 1 for source in data.sources)
    example = "\n".join(f"{turn['role']}: {data_view.cut(turn['content'])}" for turn in document["example"])
    print_fields(
        console,
        {
            "name": data.domain.name,
            "base": checked.base if measured is not None else None,
            "columns": _columns(data),
            "left out": ", ".join(source.left_out for source in data.sources if source.left_out) or None,
            "rows": f"{rows}, by {data.split_by}",
            "a pass": f"{data.trained:,} rows of train, as their weights say" if weighted else None,
            "shared": f"{data.shared:,} rows of train ask what is held out, and are left out"
            if data.shared
            else None,
            "labels": ", ".join(data.labels) or None,
            "characters": "{longest:,} in the longest row, {total:,} in all".format(**document["characters"]),
            **(data_view.tokens_fields(measured) if measured is not None else {"example": example}),
            "duplicates": _twice(document["duplicates"]),
            "overlap": data_view.overlap_field(checked.overlap),
        },
    )
    if measured is not None:
        data_view.print_shown(console, measured)


def _columns(data: Data) -> str:
    """What was read of each file, one a line; of many files, of the first."""
    lines = [
        f"{columns_of(source)}  ({source.name}: {source.rows:,} rows"
        + (f", {source.split}" if source.split else "")
        + (f", weight {source.weight:g}" if source.weight != 1 else "")
        + ")"
        for source in data.sources
    ]
    more = [f"and {len(lines) - MANY} files more"] if len(lines) > MANY else []
    return "\n".join([*lines[:MANY], *more])


def _twice(count: int) -> str | None:
    return f"{count:,} {'row stands' if count == 1 else 'rows stand'} there twice" if count else None


def _all(data: Data) -> list[Example]:
    return [example for rows in data.examples.values() for example in rows]


def _length(example: Example) -> int:
    return len(example.text) + sum(len(message.content) for message in example.messages)


def _turns(example: Example) -> list[dict[str, str]]:
    if example.messages:
        return [{"role": message.role, "content": _said(message)} for message in example.messages]
    text = [{"role": "text", "content": example.text}]
    return text + ([] if example.label is None else [{"role": "label", "content": example.label}])


def _said(message: Message) -> str:
    calls = [f"{call.name} {call.arguments}" for call in message.calls]
    return "\n".join([*([message.content] if message.content else []), *calls])
