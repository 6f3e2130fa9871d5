"""`lftreg list`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.arguments import COUNT, parse_tags
from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table, size, tag_line

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Version

COLUMNS = (
    Column("adapter", style="bold"),
    Column("aliases", weight=1, style="cyan"),
    Column("domain", weight=3),
    Column("base", weight=4, cut=True),
    Column("kind", weight=5),
    Column("rank", weight=6, right=True),
    Column("size", weight=7, right=True),
    Column("created", weight=2),
    Column("tags", weight=8, style="dim", cut=True),
)


@define(
    "list",
    examples=("lftreg list", "lftreg list --all --name support", "lftreg list --tag team=desk --json"),
)
@click.option("--all", "all_versions", is_flag=True, help="Every version, not only the newest.")
@click.option("--name", metavar="NAME", help="Only the adapter of this name.")
@click.option("--domain", metavar="DOMAIN", help="Only those trained on this domain.")
@click.option("--base", metavar="BASE", help="Only those of this base.")
@click.option(
    "--kind",
    type=click.Choice(["trained", "composed", "imported"]),
    metavar="KIND",
    help="Only trained, composed or imported ones.",
)
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only with this tag; repeatable.")
@click.option("--removed", is_flag=True, help="What rm removed and restore brings back.")
@click.option("--limit", type=COUNT, metavar="N", help="At most so many.")
def command(
    context: Context,
    all_versions: bool,
    name: str | None,
    domain: str | None,
    base: str | None,
    kind: str | None,
    tags: Sequence[str],
    removed: bool,
    limit: int | None,
) -> None:
    """List adapters, the newest first."""
    versions = context.registry.list(
        all_versions=all_versions,
        name=name,
        domain=domain,
        base=base,
        kind=kind,
        tags=parse_tags(tags),
        removed=removed,
        limit=limit,
    )
    show_versions(context, versions)
    if not versions:
        _explain_nothing(context, filtered=bool(name or domain or base or kind or tags), removed=removed)


def show_versions(context: Context, versions: Sequence[Version]) -> None:
    """Versions as rows; under `-q` only their refs."""
    out = context.out
    if out.quiet and not out.json:
        out.lines([version.ref for version in versions])
        return
    out.result([documents.row(version) for version in versions], partial(render_versions, versions))


def render_versions(versions: Sequence[Version], console: Console) -> None:
    if versions:
        print_table(console, COLUMNS, [_cells(version) for version in versions])


def _cells(version: Version) -> list[str]:
    return [
        version.ref,
        ", ".join(version.aliases),
        version.domain or "",
        version.base.id,
        version.kind,
        str(version.rank),
        size(version.bytes),
        ago(version.created_at),
        tag_line(version.tags),
    ]


def _explain_nothing(context: Context, *, filtered: bool, removed: bool) -> None:
    """An empty list says why it is empty, and what to do about it."""
    if removed:
        context.out.note("nothing was removed")
    elif filtered:
        context.out.note("no adapter matches")
        context.out.next("lftreg list")
    else:
        context.out.note(f"no adapters yet in {context.home.root}")
        context.out.note("next: lftreg train customer_support")
