"""`lftreg bases`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, count, print_table, short

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Base


@define("bases", examples=("lftreg bases",))
def command(context: Context) -> None:
    """List the base models that adapters were made for."""
    bases = context.registry.bases()
    document = [
        {
            "id": base.id,
            "fingerprint": base.fingerprint,
            "model_type": base.model_type,
            "parameters": base.parameters,
            "adapters": adapters,
        }
        for base, adapters in bases
    ]
    context.out.result(document, partial(_render, bases), bare=[base.id for base, _ in bases])
    if not bases:
        context.out.note("no base was used yet; `starter` is built in, a folder or a hub id works too")


def _render(bases: Sequence[tuple[Base, int]], console: Console) -> None:
    columns = (
        Column("base", style="bold"),
        Column("type", weight=2),
        Column("parameters", weight=3, right=True),
        Column("adapters", right=True),
        Column("fingerprint", weight=4, style="dim"),
    )
    rows = [
        [base.id, base.model_type, count(base.parameters), str(adapters), short(base.fingerprint)]
        for base, adapters in bases
    ]
    if rows:
        print_table(console, columns, rows)
