"""`lftreg keys`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.arguments import COUNT, parse_moment
from lftreg.cli.command import HELP, Family
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Key

command = Family(
    "keys",
    help="Let others ask your server, and say what they may.",
    context_settings=HELP,
    no_args_is_help=False,
    default="list",
)
SCOPES = ("generate", "models", "metrics", "admin")


@command.define(
    "add",
    examples=(
        "lftreg keys add website",
        "lftreg keys add intern --adapter 'support*' --per-minute 20 --expires 30d",
        "lftreg keys add prometheus --scope metrics",
    ),
)
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    metavar="SCOPE",
    help="generate, models, metrics or admin (all of them); repeatable. [default: generate, models]",
)
@click.option(
    "--adapter",
    "adapters",
    multiple=True,
    metavar="PATTERN",
    help="Only adapters of such names, such as 'support*'; repeatable.",
)
@click.option("--per-minute", type=COUNT, metavar="N", help="Requests a minute.")
@click.option("--concurrent", type=COUNT, metavar="N", help="Requests at once.")
@click.option("--expires", metavar="WHEN", help="30d, 12h, or a date such as 2030-01-31.")
def add(
    context: Context,
    name: str,
    scopes: Sequence[str],
    adapters: Sequence[str],
    per_minute: int | None,
    concurrent: int | None,
    expires: str | None,
) -> None:
    """Make a key. Its token is shown this once; only its hash is kept."""
    asked = [scope.strip() for given in scopes for scope in given.split(",")] or ["generate", "models"]
    token, key = context.registry.keys.add(
        name,
        asked,
        adapters=adapters,
        per_minute=per_minute,
        concurrent=concurrent,
        expires_at=None if expires is None else parse_moment(expires, "--expires", ahead=True),
    )
    context.out.result({**_document(key), "token": token}, lambda console: console.print(token))
    context.out.note("keep it well: it cannot be shown again")


@command.define("list", examples=("lftreg keys list",))
def list_(context: Context) -> None:
    """List keys, and what each may do."""
    found = context.registry.keys.list()
    context.out.result([_document(key) for key in found], partial(_render, found))
    if not found:
        context.out.note(
            "there are no keys: a server on this machine is open to its programs, and to no other"
        )


@command.define("rm", examples=("lftreg keys rm intern",))
@click.argument("name")
def rm(context: Context, name: str) -> None:
    """Take a key away; servers that run refuse it from then on."""
    context.registry.keys.remove(name)
    context.out.result({"name": name, "removed": True}, lambda console: None)
    context.out.note(f"the key {name} opens nothing any more")


def _document(key: Key) -> dict[str, Any]:
    return {
        "name": key.name,
        "scopes": list(key.scopes),
        "adapters": list(key.adapters),
        "per_minute": key.per_minute,
        "concurrent": key.concurrent,
        "created_at": documents.moment(key.created_at),
        "expires_at": documents.moment(key.expires_at),
        "expired": key.expired,
    }


def _render(keys: Sequence[Key], console: Console) -> None:
    columns = (
        Column("key", style="bold"),
        Column("may"),
        Column("adapters"),
        Column("a minute", right=True),
        Column("made"),
        Column("expires"),
    )
    rows = [
        [
            key.name,
            ", ".join(key.scopes),
            ", ".join(key.adapters) or "all",
            str(key.per_minute or ""),
            ago(key.created_at) if key.created_at else "",
            "expired" if key.expired else documents.moment(key.expires_at) or "",
        ]
        for key in keys
    ]
    if rows:
        print_table(console, columns, rows)
