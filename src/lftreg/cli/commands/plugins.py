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
from lftreg.config import load_settings, read_file, user_file, write_setting
from lftreg.errors import CheckFailed, UsageError, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.plugins.host import Host, Plugin

WAITING = "not enabled"
# Keys of the document, in the order of the table.
KINDS = ("domains", "targets", "methods", "metrics", "remotes")

command = Family(
    "plugins",
    help="List plugins, enable and check them, and begin a new one.",
    no_args_is_help=False,
    default="list",
)


@command.define("list", examples=("lftreg plugins list", "LFTREG_PLUGINS_OFF=legal lftreg plugins list"))
def list_(context: Context) -> None:
    """List plugins, what they offer, and those that did not load."""
    plugins = _survey(context.host)
    context.out.result(plugins, partial(_render, plugins))
    for plugin in plugins:
        if plugin["state"] == WAITING:
            by = f", by {plugin['author']}" if plugin["author"] else ""
            told = f"found but not enabled: {plugin['name']} ({plugin['distribution']}{by})"
            context.out.note(f"{told}: lftreg plugins enable {plugin['name']}")


@command.define("enable", examples=("lftreg plugins enable legal",))
@click.argument("name")
def enable(context: Context, name: str) -> None:
    """Trust a package's plugins to run.

    A plugin is code, and runs as you with all that you may do. So those of other packages stay off until you list
    them: this adds the package of NAME to `plugins` in your own settings.
    """
    plugin = _external(context.host, name)
    _list(context, [*_own(), plugin.package])
    document = {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "author": plugin.author,
        "enabled": True,
    }
    context.out.result(document, lambda console: None)
    context.out.note(f"{plugin} is enabled")
    context.out.next(f"lftreg plugins check {plugin.name}")


@command.define("disable", examples=("lftreg plugins disable legal",))
@click.argument("name")
def disable(context: Context, name: str) -> None:
    """Trust a package's plugins no longer."""
    plugin = _external(context.host, name)
    _list(context, [package for package in _own() if _same(package) != _same(plugin.package)])
    document = {
        "name": plugin.name,
        "distribution": plugin.distribution,
        "author": plugin.author,
        "enabled": False,
    }
    context.out.result(document, lambda console: None)
    context.out.note(f"{plugin} is not enabled any more")


@command.define("check", examples=("lftreg plugins check", "lftreg plugins check legal -v"))
@click.argument("name", required=False)
def check(context: Context, name: str | None) -> None:
    """Check that plugins load and that what they offer keeps the rules.

    The same seed gives the same examples, the splits share no prompt, every conversation ends with an
    answer, defaults are settings that `lftreg train` takes, target names can match, a method's options
    fit their types, a metric scores a few answers with what it says it needs, and the import is quick and loads
    no torch. With -v the tracebacks are shown. Exits with 6 where something is wrong.
    """
    host = context.host
    installed = [plugin["name"] for plugin in _survey(host)]
    # A package whose entry points cannot be read has faults and no plugin.
    known = list(dict.fromkeys([*installed, *(fault.plugin for fault in host.faults)]))
    if name is not None and name not in known:
        raise unknown("plugin", name, known, "`lftreg plugins` lists them")
    if name is not None and any(plugin.state == "found" for plugin in host.plugins() if plugin.name == name):
        raise UsageError(
            f"plugin {name!r} is not enabled, and to check it is to run it",
            f"lftreg plugins enable {name}, if you trust its author",
            code="plugin-not-enabled",
        )
    context.faults_told = True
    problems = list(_problems(context, name))
    waiting = {plugin.name for plugin in host.plugins() if plugin.state == "found"}
    checked = 1 if name else len(set(known) - waiting)
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
        f"pip install --editable {shlex.quote(str(folder))} && lftreg plugins enable {name} && lftreg train {name}"
    )


def _external(host: Host, name: str) -> Plugin:
    """The plugin of another package that has this name, or whose package has. Raises NotFound or UsageError."""
    others = [plugin for plugin in host.plugins() if not plugin.builtin]
    found = [plugin for plugin in others if name in (plugin.name, plugin.package)]
    if not found:
        raise unknown("plugin", name, [plugin.name for plugin in others], "`lftreg plugins` lists them")
    packages = {_same(plugin.package): plugin for plugin in found}
    if len(packages) > 1:
        raise UsageError(
            f"{name!r} is in several packages: {', '.join(plugin.distribution for plugin in packages.values())}",
            "name the package that you trust",
            code="several-packages",
        )
    return found[0]


def _own() -> list[str]:
    """The packages that the user's own file lists."""
    return list(read_file(user_file()).get("plugins", ()))


def _list(context: Context, packages: list[str]) -> None:
    kept = sorted({_same(package): package for package in packages}.values())
    write_setting(user_file(), "plugins", ",".join(kept) if kept else None)
    origin = load_settings().origins["plugins"]
    if origin not in ("default", str(user_file())):
        context.out.warn(f"{origin} sets plugins too, and wins", "lftreg config show --origin")


def _same(package: str) -> str:
    return package.lower().replace("_", "-").replace(".", "-")


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
    offered: Mapping[str, Mapping[str, Any]] = {kind: getattr(host, kind)() for kind in KINDS}
    rows = []
    for plugin in host.plugins():
        faults = [fault for fault in host.faults if fault.plugin == plugin.name]
        broken = any(not fault.loaded for fault in faults)
        state = "broken" if broken else "built in" if plugin.builtin else "loaded"
        if plugin.off:
            state = WAITING if plugin.state == "found" else "off"
        names = {
            kind: [name for name, registered in given.items() if registered.plugin == plugin.name]
            for kind, given in offered.items()
        }
        rows.append(
            {
                "name": plugin.name,
                "distribution": plugin.distribution,
                "module": plugin.module,
                "author": plugin.author,
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
            ", ".join(name for kind in KINDS for name in plugin[kind]),
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
