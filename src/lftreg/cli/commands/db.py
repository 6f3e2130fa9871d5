"""`lftreg db`"""

from __future__ import annotations

from pathlib import Path

import click

from lftreg.cli.command import HELP, Family
from lftreg.cli.context import Context
from lftreg.cli.tables import print_fields
from lftreg.config import without_password

command = Family(
    "db",
    help="Look after the registry's database.",
    context_settings=HELP,
    no_args_is_help=False,
    default="current",
)


@command.define("current", examples=("lftreg db current",))
def current(context: Context) -> None:
    """Show the database's schema, and the newest."""
    now, head = context.registry.schema()
    where = context.settings.shown()["database_url"] or str(context.home.database)
    document = {"database": where, "schema": now, "head": head, "up_to_date": now == head}
    state = "none yet, made by the first command that writes" if now is None else now
    if now is not None and now != head:
        state = (
            f"{now}, the newest is {head}"
            if now < head
            else f"{now}, newer than what this lftreg reads: {head}"
        )
    fields = {"database": where, "schema": state}
    context.out.result(document, lambda console: print_fields(console, fields))
    if now is not None and now < head:
        context.out.next("lftreg db upgrade")


@command.define("upgrade", examples=("lftreg db upgrade",))
def upgrade(context: Context) -> None:
    """Bring the database to this lftreg's schema.

    All of it or nothing.

    Any command does so when it meets an older one. What the database was before is first copied to the folder
    `backups` of the home.
    """
    before, head = context.registry.schema()
    context.registry.upgrade()
    after, _ = context.registry.schema()
    moved = context.registry.migrated
    backup = None if moved is None or moved.backup is None else str(moved.backup)
    document = {"from": before, "schema": after, "head": head, "backup": backup}
    context.out.result(document, lambda console: None)
    if moved is None:
        context.out.note(f"schema {after}" + (" already" if before == after else f", was {before or 'none'}"))


@command.define("backup", examples=("lftreg db backup registry-monday.db",))
@click.argument("path", type=click.Path(path_type=Path, dir_okay=False))
def backup(context: Context, path: Path) -> None:
    """Copy the database to a file, while others use it.

    The copy is consistent, and a file of SQLite whichever database it is of.
    """
    written = context.registry.backup(path.absolute())
    context.out.result({"path": str(written)}, lambda console: None, bare=[str(written)])
    context.out.note(f"wrote {written}; the adapters' files are in {context.home.blobs}")


@command.define("copy", examples=("lftreg db copy postgresql://registry@db.example/lftreg",))
@click.argument("url")
def copy(context: Context, url: str) -> None:
    """Copy the database into another, empty one.

    To PostgreSQL when a team begins, and back. All of it or nothing. The adapters' files stay where they are.
    """
    counts = context.registry.copy_to(url)
    shown = without_password(url)
    context.out.result({"database": shown, "rows": counts}, lambda console: None)
    context.out.note(f"copied {sum(counts.values()):,} rows of {counts['versions']:,} versions to {shown}")
    context.out.next(f"lftreg config set database_url {url if shown == url else 'URL'}")
