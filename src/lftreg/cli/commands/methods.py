"""`lftreg methods`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_table, source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from lftreg.plugins.host import Registered
    from lftreg.plugins.types import Method


@define("methods", examples=("lftreg methods",))
def command(context: Context) -> None:
    """List the ways to compose adapters."""
    found = context.host.methods()
    if context.out.quiet and not context.out.json:
        context.out.lines(list(found))
        return
    document = [
        {
            "name": name,
            "summary": entry.value.summary,
            "exact": entry.value.exact,
            "plugin": entry.plugin,
            "distribution": entry.distribution,
        }
        for name, entry in found.items()
    ]
    context.out.result(document, partial(_render, found))


def _render(found: Mapping[str, Registered[Method]], console: Console) -> None:
    columns = (
        Column("method", style="bold"),
        Column("exact", weight=2),
        Column("from", weight=3),
        Column("what it does", wrap=True),
    )
    rows = [
        [name, "yes" if entry.value.exact else "", source(entry), entry.value.summary]
        for name, entry in found.items()
    ]
    if rows:
        print_table(console, columns, rows)
