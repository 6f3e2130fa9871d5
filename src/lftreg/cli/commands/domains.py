"""`lftreg domains`"""

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
    from lftreg.plugins.types import Domain


@define("domains", examples=("lftreg domains", "lftreg domains -q"))
def command(context: Context) -> None:
    """List the domains that adapters can be trained on."""
    found = context.host.domains()
    document = [
        {
            "name": name,
            "summary": entry.value.summary,
            "prompts": list(entry.value.prompts),
            "plugin": entry.plugin,
            "distribution": entry.distribution,
        }
        for name, entry in found.items()
    ]
    context.out.result(document, partial(_render, found), bare=list(found))
    if found:
        context.out.next(f"lftreg train {next(iter(found))}")


def _render(found: Mapping[str, Registered[Domain]], console: Console) -> None:
    columns = (Column("domain", style="bold"), Column("from", weight=2), Column("what it teaches", wrap=True))
    rows = [[name, source(entry), entry.value.summary] for name, entry in found.items()]
    print_table(console, columns, rows)
