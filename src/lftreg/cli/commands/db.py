"""`lftreg db`"""

from __future__ import annotations

from pathlib import Path

import click

from lftreg.cli.command import HELP, Family
from lftreg.cli.context import Context
from lftreg.cli.tables import print_fields
from lftreg.errors import UsageError

command = Family(
    "db",
    help="Look after the registry's database.",
    context_settings=HELP,
    no_args_is_help=False,
    default="current",
)


@command.define("current", examples=("lftreg db current",))
def current(context: Context) -> None:
    """Show the schema the database has and the one this lftreg knows."""
    now, head = context.registry.schema()
    where = context.settings.shown()["database_url"] or str(context.home.database)
    document = {"database": where, "schema": now, "head": head, "up_to_date": now == head}
    state = "none yet, made by the first command that writes" if now is None else now
    fields = {"database": where, "schema": state if now in (None, head) else f"{now}, the newest is {head}"}
    context.out.result(document, lambda console: print_fields(console, fields))
    if now is not None and now != head:
        context.out.next("lftreg db upgrade")


@command.define("upgrade", examples=("lftreg db upgrade",))
def upgrade(context: Context) -> None:
    """Bring the database to this lftreg's schema, all of it or nothing."""
    before, head = context.registry.schema()
    context.registry.upgrade()
    after, _ = context.registry.schema()
    context.out.result({"from": before, "schema": after, "head": head}, lambda console: None)
    context.out.note(f"schema {after}" + (" already" if before == after else f", was {before or 'none'}"))


@command.define("backup", examples=("lftreg db backup registry-monday.db",))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def backup(context: Context, path: Path) -> None:
    """Write a consistent copy of the database, while others use it."""
    if path.exists():
        raise UsageError(f"{path} exists already", "a backup never overwrites; give another name")
    written = context.registry.backup(path.absolute())
    context.out.result({"path": str(written)}, lambda console: None)
    context.out.note(f"wrote {written}; the adapters' files are in {context.home.blobs}")
