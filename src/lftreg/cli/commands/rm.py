"""`lftreg rm`"""

from __future__ import annotations

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.errors import LftregError


@define("rm", examples=("lftreg rm support@2", "lftreg rm support"))
@click.argument("ref", type=REF)
def command(context: Context, ref: str) -> None:
    """Remove a version, or all of an adapter's.

    A bare name removes all its versions. The files stay until they are collected, so
    `lftreg restore` brings everything back. Where an alias points at what is removed, rm asks
    first on a terminal.
    """
    from lftreg.registry import parse_ref

    registry = context.registry
    asked = parse_ref(ref)
    bare = asked.name is not None and ref == asked.name
    known = registry.list(name=ref, all_versions=True) if bare else [registry.get(ref)]
    held = [f"{version.name}@{alias}" for version in known for alias in version.aliases]
    if held and not context.out.confirm(
        f"{', '.join(held)} will point nowhere. Remove {ref}?", otherwise=True
    ):
        raise LftregError("nothing was removed", code="declined")
    removed = registry.remove(ref)
    if context.out.quiet and not context.out.json:
        context.out.lines([version.ref for version in removed])
        return
    context.out.result([documents.row(version) for version in removed], lambda console: None)
    context.out.note(f"removed {', '.join(version.ref for version in removed)}")
    context.out.next(f"lftreg restore {ref}        # if it was a mistake")
