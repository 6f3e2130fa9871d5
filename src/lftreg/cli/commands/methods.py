"""`lftreg methods`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.complete import METHOD
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_fields, print_table, source
from lftreg.composer.options import explain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from lftreg.plugins.host import Registered
    from lftreg.plugins.types import Method


@define("methods", examples=("lftreg methods", "lftreg methods ties_core"))
@click.argument("name", required=False, type=METHOD)
def command(context: Context, name: str | None) -> None:
    """List the ways to compose adapters, or explain one.

    The error is the distance from the weighted sum, as a share of it, on two adapters that have little in
    common at weights of 0.7 and 0.3; what a composition really has is measured and said by `lftreg compose`.
    """
    found = context.host.methods()
    if name is not None:
        method = context.host.method(name)
        context.out.result(_document(found[name]), partial(_explain, method, found[name]))
        context.out.next(f"lftreg compose REF:WEIGHT REF:WEIGHT --method {name}")
        return
    context.out.result(
        [_document(entry) for entry in found.values()], partial(_render, found), bare=list(found)
    )
    context.out.next("lftreg methods NAME")


def _document(entry: Registered[Method]) -> dict[str, Any]:
    method = entry.value
    return {
        "name": method.name,
        "summary": method.summary,
        "exact": method.exact,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
        "engines": list(method.engines),
        "error": method.error or None,
        "cost": method.cost or None,
        "needs": list(method.needs),
        "options": [
            {"name": option, "values": values, "default": default or None}
            for option, values, default in explain(method)
        ],
    }


def _render(found: Mapping[str, Registered[Method]], console: Console) -> None:
    columns = (
        Column("method", style="bold"),
        Column("engine", weight=2),
        Column("from", weight=3),
        Column("error", wrap=True),
        Column("what it does", wrap=True),
    )
    rows = [
        [name, ", ".join(entry.value.engines), source(entry), entry.value.error, entry.value.summary]
        for name, entry in found.items()
    ]
    if rows:
        print_table(console, columns, rows)


def _explain(method: Method, entry: Registered[Method], console: Console) -> None:
    needs = {"several-parents": "two parents or more", "equal-ranks": "equal ranks"}
    options = [
        f"{option}: {values}{f' ({default})' if default else ''}"
        for option, values, default in explain(method)
    ]
    print_fields(
        console,
        {
            "method": method.name,
            "does": method.summary,
            "error": method.error or None,
            "cost": method.cost or None,
            "engines": ", ".join(method.engines),
            "needs": ", ".join(needs.get(need, need) for need in method.needs) or None,
            "options": "\n".join(options) or "none",
            "from": source(entry),
        },
    )
