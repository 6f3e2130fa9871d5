"""`lftreg config`"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import Family
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_table
from lftreg.config import KEYS, PROJECT_FILE, load_settings, project_file, user_file, write_setting
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from click.shell_completion import CompletionItem
    from rich.console import Console

command = Family("config", help="Show and change settings.", no_args_is_help=False, default="show")


def _suggest_keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem[str]]:
    from click.shell_completion import CompletionItem

    return [CompletionItem(key.name, help=key.help) for key in KEYS if key.name.startswith(incomplete)]


@command.define("show", examples=("lftreg config show --origin",))
@click.option("--origin", is_flag=True, help="Say where each value comes from.")
def show(context: Context, origin: bool) -> None:
    """Show every setting.

    A flag wins over the environment, that over the nearest lftreg.toml, that over your own file.
    """
    values = context.settings.shown()
    origins = context.settings.origins
    document = (
        {name: {"value": value, "origin": origins[name]} for name, value in values.items()}
        if origin
        else values
    )
    context.out.result(document, partial(_render, values, origins if origin else None))


def _render(values: Mapping[str, Any], origins: Mapping[str, str] | None, console: Console) -> None:
    columns = [Column("setting", style="bold"), Column("value")]
    rows = []
    for name, value in values.items():
        text = ", ".join(value) if isinstance(value, list) else str(value or "")
        rows.append([name, text or "-"])
    if origins is not None:
        columns.append(Column("from", style="dim"))
        rows = [[*row, origins[row[0]]] for row in rows]
    print_table(console, columns, rows)


@command.define(
    "set", examples=("lftreg config set base org/model", "lftreg config set plugins_off legal,medical")
)
@click.argument("key", shell_complete=_suggest_keys)
@click.argument("value", required=False)
@click.option("--project", is_flag=True, help=f"In the nearest {PROJECT_FILE}, or a new one here.")
@click.option("--unset", is_flag=True, help="Take the setting out of the file.")
def set_(context: Context, key: str, value: str | None, project: bool, unset: bool) -> None:
    """Change a setting in your own file, or in the project's."""
    if (value is None) != unset:
        raise click.UsageError("Give a VALUE, or --unset.", click.get_current_context())
    if project and key == "plugins":
        raise UsageError(
            "a project's file may not list plugins", "`lftreg plugins enable NAME` is for you alone"
        )
    path = (project_file(Path.cwd()) or Path.cwd() / PROJECT_FILE) if project else user_file()
    write_setting(path, key, value)
    settings = load_settings()
    document = {
        "key": key,
        "value": settings.shown()[key],
        "origin": settings.origins[key],
        "path": str(path),
    }
    context.out.result(document, lambda console: None)
    context.out.note(f"{key} is {'no longer set' if unset else 'set'} in {path}")
    if not unset and settings.origins[key] != str(path):
        context.out.warn(f"{settings.origins[key]} sets {key} too, and wins", "lftreg config show --origin")


@command.define("path", examples=("lftreg config path",))
def path_(context: Context) -> None:
    """Print the path of your own file."""
    path = user_file()
    document = {"path": str(path), "exists": path.exists()}
    context.out.result(document, lambda console: context.out.lines([str(path)]))
