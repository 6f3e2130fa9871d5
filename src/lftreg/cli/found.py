"""What `list` and `search` share: the options of finding, rows with what was asked for, and what comes next."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.arguments import COUNT
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table, size, tag_line

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Version

COLUMNS = (
    Column("adapter", style="bold"),
    Column("state", weight=1, style="bold red"),
    Column("aliases", weight=1, style="cyan"),
    Column("domain", weight=3),
    Column("base", weight=4, cut=True),
    Column("kind", weight=5),
    Column("rank", weight=6, right=True),
    Column("size", weight=7, right=True),
    Column("created", weight=2),
    Column("tags", weight=8, style="dim", cut=True),
)
ALL_REMOVED = "everything is in the bin: `lftreg list --removed` shows it"
BEFORE = 3  # columns that stand before those of figures
Figures = Sequence[Mapping[str, float]]


def finding_options(default: int | None) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """--where, --sort, --limit and --after."""

    def add(function: Callable[..., None]) -> Callable[..., None]:
        for option in reversed(
            (
                click.option(
                    "--where",
                    metavar="CONDITION",
                    help="Only where this holds: 'bleu > 30 and base = starter'.",
                ),
                click.option(
                    "--sort",
                    metavar="FIELDS",
                    help="In this order: '-bleu,name'; a minus puts the largest first.",
                ),
                click.option(
                    "--limit",
                    type=COUNT,
                    default=default,
                    show_default=default is not None,
                    metavar="N",
                    help="At most so many.",
                ),
                click.option(
                    "--after", metavar="REF", help="The page behind this version, in the same order."
                ),
            )
        ):
            function = option(function)
        return function

    return add


def show_page(
    context: Context,
    find: Callable[[int | None], Sequence[Version]],
    limit: int | None,
    again: Sequence[str],
    where: str | None,
    sort: str | None,
) -> bool:
    """Show what `find` finds, at most `limit`, and how to go on. Returns whether anything was there."""
    found = find(None if limit is None else limit + 1)
    versions = found[:limit]
    names, figures = context.registry.measured(versions, where, sort)
    show_versions(context, versions, names, figures)
    if len(found) > len(versions):
        context.out.more(shlex.join([*again, "--after", versions[-1].ref]))
    return bool(found)


def show_versions(
    context: Context, versions: Sequence[Version], names: Sequence[str] = (), figures: Figures = ()
) -> None:
    """Versions as rows, with their figures of these names; under `-q` only their refs."""
    out = context.out
    if out.quiet and not out.json:
        out.lines([version.ref for version in versions])
        return
    rows: list[dict[str, Any]] = [documents.row(version) for version in versions]
    if names:
        rows = [
            row | {"metrics": {name: own.get(name) for name in names}}
            for row, own in zip(rows, figures, strict=True)
        ]
    out.result(rows, partial(render_versions, versions, names=names, figures=figures))


def render_versions(
    versions: Sequence[Version], console: Console, names: Sequence[str] = (), figures: Figures = ()
) -> None:
    if not versions:
        return
    told = [Column(name, weight=1, right=True) for name in names]
    columns = [*COLUMNS[:BEFORE], *told, *COLUMNS[BEFORE:]]
    own: Figures = figures if names else [{} for _ in versions]
    print_table(
        console, columns, [_cells(version, names, one) for version, one in zip(versions, own, strict=True)]
    )


def words_of(options: Mapping[str, object]) -> list[str]:
    """Options as they are typed; those that were not given are left out."""
    said: list[str] = []
    for name, value in options.items():
        if value is True:
            said.append(f"--{name}")
        elif isinstance(value, tuple | list):
            said += [word for one in value for word in (f"--{name}", str(one))]
        elif value is not None and value is not False:
            said += [f"--{name}", str(value)]
    return said


def _cells(version: Version, names: Sequence[str], figures: Mapping[str, float]) -> list[str]:
    return [
        version.ref,
        "damaged" if version.damage else "",
        ", ".join(version.aliases),
        *(f"{figures[name]:.4g}" if name in figures else "" for name in names),
        version.domain or "",
        version.base.id,
        version.kind,
        str(version.rank),
        size(version.bytes),
        ago(version.created_at),
        tag_line(version.tags),
    ]
