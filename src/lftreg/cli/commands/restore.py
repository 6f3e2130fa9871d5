"""`lftreg restore`"""

from __future__ import annotations

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REMOVED
from lftreg.cli.context import Context


@define("restore", examples=("lftreg restore support@2", "lftreg list --removed"))
@click.argument("ref", type=REMOVED)
def command(context: Context, ref: str) -> None:
    """Bring back what rm removed.

    A bare name brings back all its removed versions.
    """
    restored = context.registry.restore(ref)
    if context.out.quiet and not context.out.json:
        context.out.lines([version.ref for version in restored])
        return
    context.out.result([documents.row(version) for version in restored], lambda console: None)
    context.out.note(f"restored {', '.join(version.ref for version in restored)}")
    context.out.next(f"lftreg show {restored[-1].ref}")
