"""`lftreg plugins`"""

from __future__ import annotations

import shlex
import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import Family
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_table
from lftreg.errors import CheckFailed, UsageError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.plugins.host import Host

command = Family(
    "plugins", help="List plugins, check them, and begin a new one.", no_args_is_help=False, default="list"
)


@command.define("list", examples=("lftreg plugins list", "LFTREG_PLUGINS_OFF=legal lftreg plugins list"))
def list_(context: Context) -> None:
    """List plugins, what they offer, and those that did not load."""
    plugins = _survey(context.host)
    context.out.result(plugins, partial(_render, plugins))


@command.define("check", examples=("lftreg plugins check", "lftreg plugins check legal -v"))
@click.argument("name", required=False)
def check(context: Context, name: str | None) -> None:
    """Check that plugins load and that what they offer keeps the rules.

    The same seed gives the same examples, the splits share no prompt, every conversation ends with an
    answer, defaults are settings that `lftreg train` takes, target names can match, a method's options
    fit their types, and the import is quick and loads no torch. With -v the tracebacks are shown. Exits with 6
    where something is wrong.
    """
    host = context.host
    installed = [plugin["name"] for plugin in _survey(host)]
    # A package whose entry points cannot be read has faults and no plugin.
    known = list(dict.fromkeys([*installed, *(fault.plugin for fault in host.faults)]))
    if name is not None and name not in known:
        raise unknown("plugin", name, known, "`lftreg plugins` lists them")
    context.faults_told = True
    problems = list(_problems(context, name))
    checked = 1 if name else len(known)
    context.out.result({"checked": checked, "problems": problems}, partial(_render_problems, problems))
    if problems:
        raise CheckFailed(f"{problems[0]['plugin']}: {problems[0]['message']}", _hint(host, problems[0]))
    context.out.note(f"{checked} {'plugin keeps' if checked == 1 else 'plugins keep'} the rules")


@command.define("new", examples=("lftreg plugins new legal", "lftreg plugins new legal --output ./desk"))
@click.argument("name")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FOLDER",
    help="The folder to make (./lftreg-NAME).",
)
def new(context: Context, name: str, output: Path | None) -> None:
    """Write the package of a new plugin, to be changed.

    It holds a domain, its facts and its tests, installs with pip and keeps all rules as it is written. Nothing
    is overwritten: the folder must not be there yet.
    """
    from lftreg.plugins.new import package_of, write_plugin

    package = package_of(name)
    _refuse_taken(context.host, name, package)
    folder = (output or Path(package)).absolute()
    files = write_plugin(name, folder)
    document = {"path": str(folder), "package": package, "files": files}
    context.out.result(document, lambda console: None)
    if context.out.quiet and not context.out.json:
        context.out.lines([str(folder)])
    context.out.note(f"wrote {package} to {folder}: {', '.join(files)}")
    context.out.next(
        f"pip install --editable {shlex.quote(str(folder))} && lftreg plugins check {name} && lftreg train {name}"
    )


def _refuse_taken(host: Host, name: str, package: str) -> None:
    """A plugin or a domain of another package that has the name already would win over the new one."""
    owners = {plugin.name: plugin.distribution for plugin in host.plugins()}
    owners |= {domain: registered.distribution for domain, registered in host.domains().items()}
    owner = owners.get(name, package)
    if owner.partition(" ")[0] != package:
        raise UsageError(f"{name!r} is already given by {owner}", "choose another name", code="name-taken")


def _hint(host: Host, problem: Mapping[str, str]) -> str:
    """What to do about a problem: what its fault says to run, if that is more than this check."""
    from lftreg.plugins.host import check_command

    runs = [f.run for f in host.faults if (f.plugin, f.message) == (problem["plugin"], problem["message"])]
    return next((run for run in runs if run != check_command(problem["plugin"])), "tell the plugin's author")


def _survey(host: Host) -> list[dict[str, Any]]:
    """Every plugin with its state, what it offers, and why it does not."""
    offered: Mapping[str, Mapping[str, Any]] = {
        "domains": host.domains(),
        "targets": host.targets(),
        "methods": host.methods(),
    }
    rows = []
    for plugin in host.plugins():
        faults = [fault for fault in host.faults if fault.plugin == plugin.name]
        broken = any(not fault.loaded for fault in faults)
        state = "off" if plugin.off else "broken" if broken else "built in" if plugin.builtin else "loaded"
        names = {
            kind: [name for name, registered in given.items() if registered.plugin == plugin.name]
            for kind, given in offered.items()
        }
        rows.append(
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "state": state,
                **names,
                "faults": [fault.message for fault in faults],
            }
        )
    return rows


def _render(plugins: list[dict[str, Any]], console: Console) -> None:
    columns = (
        Column("plugin", style="bold"),
        Column("state"),
        Column("from", weight=2),
        Column("offers", wrap=True),
    )
    rows = [
        [
            plugin["name"],
            plugin["state"],
            "" if plugin["state"] == "built in" else plugin["distribution"],
            ", ".join(name for kind in ("domains", "targets", "methods") for name in plugin[kind]),
        ]
        for plugin in plugins
    ]
    print_table(console, columns, rows)


def _problems(context: Context, only: str | None) -> Iterator[dict[str, str]]:
    """What is wrong with every plugin, or with one: in loading, in what it offers, in its import."""
    from lftreg.testing import find_problems

    host = context.host
    for fault in host.faults:
        if only in (None, fault.plugin):
            yield {"plugin": fault.plugin, "message": fault.message}
            if fault.error is not None:
                context.out.detail("".join(traceback.format_exception(fault.error)))
    for plugin in host.plugins():
        if not plugin.off and only in (None, plugin.name):
            for message in find_problems(host, plugin):
                yield {"plugin": plugin.name, "message": message}


def _render_problems(problems: list[dict[str, str]], console: Console) -> None:
    if problems:
        columns = (Column("plugin", style="bold"), Column("problem", style="red", wrap=True))
        print_table(console, columns, [[problem["plugin"], problem["message"]] for problem in problems])
