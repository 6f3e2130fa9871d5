"""`lftreg search`"""

from __future__ import annotations

import click

from lftreg.cli.arguments import COUNT
from lftreg.cli.command import define
from lftreg.cli.commands.list import show_versions
from lftreg.cli.context import Context


@define("search", examples=("lftreg search support", "lftreg search desk composed"))
@click.argument("text", nargs=-1, required=True)
@click.option("--limit", type=COUNT, default=50, show_default=True, metavar="N", help="At most so many.")
def command(context: Context, text: tuple[str, ...], limit: int) -> None:
    """Find adapters by name, tag, domain, alias, base or method.

    Every word of TEXT must begin a word of what is known about the version.
    """
    versions = context.registry.search(" ".join(text), limit=limit)
    show_versions(context, versions)
    if not versions:
        context.out.note(f"nothing matches {' '.join(text)!r}")
        context.out.next("lftreg list --all")
