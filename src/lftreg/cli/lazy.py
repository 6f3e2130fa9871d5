"""Groups that know their commands by a table and import one only when it runs.

`--help`, suggestions and the completion of command names read the table; click's own way to do it
asks every command for its help and so imports all of them.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import CommandBase, unknown_command, write_common

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


@dataclass(frozen=True, slots=True)
class Stub:
    """What is known of a command before it is imported; `target` is `module:attribute`."""

    name: str
    target: str
    section: str
    help: str

    def load(self) -> click.Command:
        module, _, attribute = self.target.partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command


class LazyGroup(CommandBase, click.Group):
    """The root command, made of stubs. `habits` maps words of other tools to ours."""

    def __init__(self, stubs: Sequence[Stub], habits: Mapping[str, str], **attributes: Any) -> None:
        super().__init__(**attributes)
        self.stubs = {stub.name: stub for stub in stubs}
        self.habits = habits

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.stubs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        stub = self.stubs.get(cmd_name)
        return None if stub is None else stub.load()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.stubs and not ctx.resilient_parsing:
            raise unknown_command(args[0], ctx.command_path, self.stubs, self.habits)
        return super().resolve_command(ctx, args)

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem[str]]:
        from click.shell_completion import CompletionItem

        options = click.Command.shell_complete(self, ctx, incomplete)
        return [
            CompletionItem(stub.name, help=stub.help)
            for stub in self.stubs.values()
            if stub.name.startswith(incomplete)
        ] + options

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        column = max(map(len, self.stubs)) + 2
        for section in dict.fromkeys(stub.section for stub in self.stubs.values()):
            with formatter.section(section):
                for stub in self.stubs.values():
                    if stub.section == section:
                        formatter.write(f"{'':{formatter.current_indent}}{stub.name:{column}}{stub.help}\n")
        write_common(self, ctx, formatter)
