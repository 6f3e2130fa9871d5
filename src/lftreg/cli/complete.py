"""Completion: names of adapters, aliases, domains, methods and metrics, read when Tab is pressed.

click writes the scripts and speaks with the shells. Only bash needs more: it breaks words at `@`,
`:` and `=`, so its script sends the whole line and takes off what the shell already holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import click

from lftreg.cli.context import Context

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_LFTREG_COMPLETE"

_BASH = """\
%(complete_func)s() {
    local IFS=$'\\n' line=${COMP_LINE:0:COMP_POINT} breaks held item type value
    breaks=${COMP_WORDBREAKS//[^@:=]/}
    held=${line##*[[:space:]]}
    if [[ -n $breaks && $held == *[$breaks]* ]]; then
        held=${held%%"${held##*[$breaks]}"}
        held=${held%%@}  # of these three, bash keeps @ in the word that is completed
    else
        held=""
    fi
    COMPREPLY=()
    for item in $(COMP_LINE=$line %(complete_var)s=bash_complete $1 2>/dev/null); do
        type=${item%%%%,*}
        value=${item#*,}
        if [[ $type == dir ]]; then
            compopt -o dirnames
        elif [[ $type == file ]]; then
            compopt -o default
        else
            COMPREPLY+=("${value#"$held"}")
        fi
    done
    # A name that may go on with @ is not finished by a space.
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *@ ]]; then
        compopt -o nospace
    fi
}
complete -o nosort -F %(complete_func)s %(prog_name)s
"""


class _Data(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """What --data takes, as it was typed; files and folders are completed by the shell."""

    name = "data"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


DATA = _Data()


class _Named(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A text whose possible values `suggest` knows."""

    name = "text"

    def __init__(self, suggest: Callable[[Context, str], Iterable[tuple[str, str]]]) -> None:
        self._suggest = suggest

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        context = ctx.find_object(Context) or Context()
        try:
            found = list(self._suggest(context, incomplete))
        except Exception:  # noqa: BLE001 a Tab must never print a traceback into the line being typed
            return []
        return [CompletionItem(value, help=text) for value, text in found if value.startswith(incomplete)]


def _refs(context: Context, incomplete: str) -> Iterable[tuple[str, str]]:
    """Names first; behind an @ the versions and aliases of that name."""
    name, at, _ = incomplete.partition("@")
    if not at:
        for version in context.registry.list():
            yield version.name, f"{version.kind}, {version.base.id}"
        return
    for version in context.registry.list(name=name, all_versions=True):
        yield version.ref, f"{version.kind}, {version.base.id}"
        for alias in version.aliases:
            yield f"{name}@{alias}", f"now {version.ref}"


def _removed(context: Context, incomplete: str) -> Iterable[tuple[str, str]]:
    for version in context.registry.list(all_versions=True, removed=True):
        yield version.ref, version.kind


def _domains(context: Context, incomplete: str) -> Iterable[tuple[str, str]]:
    return [(name, entry.value.summary) for name, entry in context.host.domains().items()]


def _methods(context: Context, incomplete: str) -> Iterable[tuple[str, str]]:
    return [(name, entry.value.summary) for name, entry in context.host.methods().items()]


def _metrics(context: Context, incomplete: str) -> Iterable[tuple[str, str]]:
    return [(name, entry.value.summary) for name, entry in context.host.metrics().items()]


def _bases(context: Context, incomplete: str) -> Iterable[tuple[str, str]]:
    known = {base.id: base.model_type for base, _ in context.registry.bases()}
    return ({"starter": "built in"} | known).items()


REF = _Named(_refs)
REMOVED = _Named(_removed)
DOMAIN = _Named(_domains)
METHOD = _Named(_methods)
METRIC = _Named(_metrics)
BASE = _Named(_bases)


def script(command: click.Command, shell: str) -> str:
    """What a shell has to source."""
    from click.shell_completion import get_completion_class

    _register()
    made = get_completion_class(shell)
    assert made is not None
    return made(command, {}, "lftreg", VARIABLE).source()


def answer(command: click.Command, instruction: str) -> int:
    """What the scripts ask for through the environment."""
    from click.shell_completion import shell_complete

    _register()
    return shell_complete(command, {"obj": Context()}, "lftreg", VARIABLE, instruction)


def _register() -> None:
    """Put our way with bash in the place of click's."""
    import os

    from click.shell_completion import BashComplete, add_completion_class, split_arg_string

    class WholeLine(BashComplete):
        source_template = _BASH

        def source(self) -> str:
            return str(self.source_template % self.source_vars())

        def get_completion_args(self) -> tuple[list[str], str]:
            line = os.environ["COMP_LINE"]
            words = split_arg_string(line)[1:]
            incomplete = words.pop() if words and not line[-1].isspace() else ""
            return words, incomplete

    add_completion_class(WholeLine, "bash")
