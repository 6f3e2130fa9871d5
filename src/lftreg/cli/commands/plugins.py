"""`lftreg plugins`"""

from __future__ import annotations

import traceback
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import Family
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_table
from lftreg.errors import CheckFailed, unknown

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.plugins.host import Host

command = Family("plugins", help="List plugins and check them.", no_args_is_help=False, default="list")


@command.define("list", examples=("lftreg plugins list", "LFTREG_PLUGINS_OFF=legal lftreg plugins list"))
def list_(context: Context) -> None:
    """List plugins, what they offer, and those that did not load."""
    plugins = _survey(context.host)
    context.out.result(plugins, partial(_render, plugins))


@command.define("check", examples=("lftreg plugins check", "lftreg plugins check legal -v"))
@click.argument("name", required=False)
def check(context: Context, name: str | None) -> None:
    """Check that plugins load and that their domains keep the rules.

    The same seed gives the same examples, the splits share no prompt, no split that training needs
    is empty, and importing it is quick and loads no torch. With -v the tracebacks are shown. Exits
    with 6 where something is wrong.
    """
    host = context.host
    known = [plugin["name"] for plugin in _survey(host)]
    if name is not None and name not in known:
        raise unknown("plugin", name, known, "`lftreg plugins` lists them")
    context.faults_told = True
    problems = list(_problems(context, name))
    checked = 1 if name else len(known)
    context.out.result({"checked": checked, "problems": problems}, partial(_render_problems, problems))
    if problems:
        raise CheckFailed(f"{problems[0]['plugin']}: {problems[0]['message']}", "tell the plugin's author")
    context.out.note(f"{checked} {'plugin keeps' if checked == 1 else 'plugins keep'} the rules")


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
    """What is wrong with every plugin, or with one: in loading, in its domains, in its import."""
    from lftreg.plugins.check import check_domain, check_import

    host = context.host
    domains = host.domains()
    for plugin in host.plugins():
        if plugin.off or only not in (None, plugin.name):
            continue
        for fault in host.faults:
            if fault.plugin == plugin.name:
                yield {"plugin": plugin.name, "message": fault.message}
                if fault.error is not None:
                    context.out.detail("".join(traceback.format_exception(fault.error)))
        for name, registered in domains.items():
            if registered.plugin == plugin.name:
                for message in check_domain(registered.value):
                    yield {"plugin": plugin.name, "message": f"domain {name!r} {message}"}
        if plugin.module:
            for message in check_import(plugin.module):
                yield {"plugin": plugin.name, "message": message}


def _render_problems(problems: list[dict[str, str]], console: Console) -> None:
    if problems:
        columns = (Column("plugin", style="bold"), Column("problem", style="red", wrap=True))
        print_table(console, columns, [[problem["plugin"], problem["message"]] for problem in problems])
