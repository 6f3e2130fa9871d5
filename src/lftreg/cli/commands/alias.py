"""`lftreg alias`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import AliasMove, Version


@define(
    "alias",
    examples=(
        "lftreg alias support@3 prod",
        "lftreg alias support@2 prod        # back to the one before",
        "lftreg alias support --history",
        "lftreg alias support prod --remove",
    ),
)
@click.argument("ref", type=REF)
@click.argument("alias", metavar="[NAME]", required=False)
@click.option("--remove", is_flag=True, help="Take the alias away.")
@click.option("--history", is_flag=True, help="Show where it pointed, and when.")
def command(context: Context, ref: str, alias: str | None, remove: bool, history: bool) -> None:
    """Name a version, such as prod, and move the name later.

    Where the alias exists already, it moves; its history stays.
    """
    from lftreg.registry import parse_ref
    from lftreg.registry.ref import check_alias

    if history or (alias is None and not remove):
        asked = parse_ref(ref)
        name = asked.name
        if name is None:
            raise UsageError(f"{ref} names no adapter", "give its name")
        context.registry.get(name)
        moves = context.registry.alias_history(name, alias or asked.alias)
        context.out.result([documents.alias_move(move) for move in moves], partial(_render, moves))
        if not moves:
            which = alias or asked.alias
            context.out.note(f"{name} never had an alias" + (f" {which!r}" if which else ""))
        return
    if alias is None:
        raise UsageError("which alias is to be removed?", f"lftreg alias {ref} NAME --remove")
    if remove:
        name = context.registry.get(ref).name
        context.registry.unalias(name, alias)
        context.out.result({"name": name, "alias": alias, "version": None}, lambda console: None)
        context.out.note(f"{name}@{alias} is gone")
        return
    check_alias(alias)
    known = parse_ref(ref).name
    held = context.registry.alias_history(known, alias)[-1:] if known is not None else []
    version = context.registry.alias(ref, alias)
    context.out.result(documents.row(version), lambda console: None)
    context.out.note(_moved(version, alias, held[0].number if held else None))
    context.out.next(f"lftreg show {version.name}@{alias}")


def _moved(version: Version, alias: str, before: int | None) -> str:
    """Where an alias is, and where it was, which is the way back."""
    if before == version.number:
        return f"{version.name}@{alias} is {version.ref} already"
    was = "" if before is None else f", and was {version.name}@{before}"
    return f"{version.name}@{alias} is now {version.ref}{was}"


def _render(moves: Sequence[AliasMove], console: Console) -> None:
    columns = (Column("alias", style="cyan"), Column("version", style="bold"), Column("when"))
    rows = [
        [m.alias, f"{m.name}@{m.number}" if m.number is not None else "taken away", ago(m.at)] for m in moves
    ]
    if rows:
        print_table(console, columns, rows)
