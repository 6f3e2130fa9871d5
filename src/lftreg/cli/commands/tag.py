"""`lftreg tag`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.arguments import parse_tags
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import print_fields

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Version


@define("tag", examples=("lftreg tag support@3 team=desk tone=warm", "lftreg tag support@3 --remove tone"))
@click.argument("ref", type=REF)
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--remove", multiple=True, metavar="KEY", help="Take a tag away; repeatable.")
def command(context: Context, ref: str, tags: tuple[str, ...], remove: tuple[str, ...]) -> None:
    """Show, set or remove the tags of a version.

    Tags are not part of the version: setting one changes no digest.
    """
    changes: dict[str, str | None] = {**parse_tags(tags), **dict.fromkeys(remove)}
    version = context.registry.tag(ref, changes) if changes else context.registry.get(ref)
    context.out.result(documents.row(version), partial(_render, version))
    if not version.tags:
        context.out.note(f"{version.ref} has no tags")
    elif changes:
        key, value = next(iter(version.tags.items()))
        context.out.next(f"lftreg list --tag {key}={value}")


def _render(version: Version, console: Console) -> None:
    print_fields(console, dict(sorted(version.tags.items())))
