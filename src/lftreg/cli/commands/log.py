"""`lftreg log`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.arguments import COUNT, parse_moment
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, print_table, tag_line

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Entry

# Those of the registry's own log, told here so that help needs no database.
ACTIONS = (
    "register", "alias", "unalias", "tag", "rm", "restore", "purge", "score", "prefer", "key", "unkey", "migrate",
    "damage", "heal", "push", "pull",
)  # fmt: skip


@define(
    "log",
    examples=("lftreg log", "lftreg log support --since 7d", "lftreg log --action rm --who anna --json"),
)
@click.argument("ref", type=REF, required=False)
@click.option("--who", metavar="NAME", help="Only what this user did.")
@click.option(
    "--action", type=click.Choice(ACTIONS), metavar="ACTION", help=f"Only one of: {', '.join(ACTIONS)}."
)
@click.option("--since", metavar="WHEN", help="Only what came after: 7d, 12h, or a date such as 2026-01-31.")
@click.option("--before", type=COUNT, metavar="ID", help="Only what came before this line.")
@click.option("--limit", type=COUNT, default=50, show_default=True, metavar="N", help="At most so many.")
def command(
    context: Context,
    ref: str | None,
    who: str | None,
    action: str | None,
    since: str | None,
    before: int | None,
    limit: int,
) -> None:
    """Show who did what to which adapter, and when.

    The newest comes first. Every change of the registry leaves a line, with the name of the login, or what
    LFTREG_USER says. What was removed for good is still there.
    """
    from lftreg.registry import parse_ref

    subject = number = None
    if ref is not None:
        asked = parse_ref(ref)
        subject, number = asked.name, asked.number
        if asked.alias or asked.digest:
            version = context.registry.get(asked)
            subject, number = version.name, version.number
    entries = context.registry.log(
        subject=subject,
        number=number,
        who=who,
        action=action,
        since=None if since is None else parse_moment(since, "--since", ahead=False),
        before=before,
        limit=limit + 1,
    )
    more, entries = len(entries) > limit, entries[:limit]
    context.out.result([documents.logged(entry) for entry in entries], partial(_render, entries))
    if not entries:
        context.out.note("the log has nothing of this")
    elif more:
        context.out.next(f"lftreg log {f'{ref} ' if ref else ''}--before {entries[-1].id}")


def _render(entries: Sequence[Entry], console: Console) -> None:
    columns = (
        Column("line", style="dim", right=True, weight=3),
        Column("when"),
        Column("who", weight=1),
        Column("action", style="cyan"),
        Column("what", style="bold"),
        Column("details", weight=2, style="dim", cut=True),
    )
    rows = [
        [str(e.id), ago(e.at), f"{e.who}@{e.host}", e.action, e.ref, tag_line(_plain(e.details))]
        for e in entries
    ]
    if rows:
        print_table(console, columns, rows)


def _plain(details: Mapping[str, Any]) -> dict[str, str]:
    """Details as words: a mapping as its own pairs."""
    found: dict[str, str] = {}
    for key, value in details.items():
        if isinstance(value, Mapping):
            found |= {str(k): "(removed)" if v is None else str(v) for k, v in value.items()}
        else:
            found[key] = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
    return found
