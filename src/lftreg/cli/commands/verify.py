"""`lftreg verify`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_table
from lftreg.errors import CheckFailed, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Problem


@define("verify", examples=("lftreg verify support@3", "lftreg verify --all"))
@click.argument("ref", type=REF, required=False)
@click.option("--all", "everything", is_flag=True, help="Every version in the registry.")
def command(context: Context, ref: str | None, everything: bool) -> None:
    """Check stored files against their digests.

    Exits with 6 where anything is damaged or missing.
    """
    if (ref is None) == (not everything):
        raise UsageError("verify what?", "lftreg verify REF, or lftreg verify --all")
    if ref is not None:
        ref = context.registry.get(ref).ref
        checked = 1
    else:
        checked = len(context.registry.list(all_versions=True))
    problems = context.registry.verify(ref)
    document = {"checked": checked, "problems": [documents.problem(found) for found in problems]}
    context.out.result(document, partial(_render, problems))
    if problems:
        damaged = len({found.ref for found in problems})
        raise CheckFailed(
            f"{damaged} of {checked} versions {'is' if damaged == 1 else 'are'} damaged",
            "make them again, or import them from where they were exported to",
        )
    whole = f"{checked} {'version is' if checked == 1 else 'versions are'} whole"
    context.out.note(whole if checked else "there is nothing to verify yet")


def _render(problems: Sequence[Problem], console: Console) -> None:
    if problems:
        columns = (
            Column("version", style="bold"),
            Column("problem", style="red"),
            Column("what was found", wrap=True),
        )
        print_table(console, columns, [[p.ref, p.code, p.message] for p in problems])
