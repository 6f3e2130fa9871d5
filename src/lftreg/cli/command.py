"""How a command is declared: options of its own, the common ones, and examples in its help.

@define("tag", examples=("lftreg tag support@3 team=desk",))
@click.argument("ref", type=REF)
def command(context: Context, ref: str) -> None:
    '''Label a version.'''
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

from lftreg.cli.context import Context
from lftreg.errors import UsageError

HELP = {"help_option_names": ["-h", "--help"]}


class Common(click.Option):
    """An option that every command takes; its value goes to the Context, not to the command."""


def common_options() -> list[click.Parameter]:
    """Fresh common options, in the order of the help."""
    flags = (
        (["--json"], "One JSON document on stdout."),
        (["-q", "--quiet"], "Only the data, nothing around it."),
        (["-v", "--verbose"], "Say more, with tracebacks for errors."),
        (["-y", "--yes"], "Answer yes to every question."),
        (["--no-input"], "Never ask; fail where an answer is needed."),
        (["--no-plugins"], "Leave out plugins of other packages."),
    )
    options: list[click.Parameter] = [
        Common(names, is_flag=True, help=text, expose_value=False, callback=_remember)
        for names, text in flags
    ]
    options.append(
        Common(
            ["--home"],
            type=click.Path(file_okay=False),
            metavar="FOLDER",
            help="The registry's folder (LFTREG_HOME).",
            expose_value=False,
            callback=_remember,
        )
    )
    return options


def _remember(ctx: click.Context, option: click.Parameter, value: Any) -> None:
    """Given before the command or after it, an option counts once; not given, it changes nothing."""
    context = ctx.find_object(Context)
    if context is not None and option.name is not None and value:
        context.given[option.name] = value


class CommandBase(click.Command):
    """A click command with the common options."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.context_settings = HELP | dict(self.context_settings)
        self.params.extend(common_options())


class Command(CommandBase):
    """A command with examples under its help."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        own = [p.get_help_record(ctx) for p in self.params if not isinstance(p, Common)]
        rows = [row for row in own if row is not None]
        if rows:
            with formatter.section("Options"):
                formatter.write_dl(rows)
        write_common(self, ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        if self.examples:
            with formatter.section("Examples"):
                for example in self.examples:
                    formatter.write(f"{'':{formatter.current_indent}}{example}\n")


class Family(CommandBase, click.Group):
    """Commands under one word, such as `db upgrade`; `default` runs where none is named."""

    def __init__(self, *args: Any, default: str | None = None, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = any(word in self.commands or word in HELP["help_option_names"] for word in args)
        if self.default and not named and not ctx.resilient_parsing and (not args or args[0].startswith("-")):
            args = [self.default, *args]
        if not args and not ctx.resilient_parsing and not ctx.obj.given.get("json"):
            ctx.obj.out.raw(ctx.get_help() + "\n")
            ctx.exit()
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:
            raise unknown_command(args[0], ctx.command_path, self.commands)
        return super().resolve_command(ctx, args)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        self.format_commands(ctx, formatter)
        write_common(self, ctx, formatter)

    def define(self, name: str, *, examples: Sequence[str] = ()) -> Callable[[Callable[..., None]], Command]:
        """Like the function `define`, for a command of this family."""

        def make(function: Callable[..., None]) -> Command:
            command = define(name, examples=examples)(function)
            self.add_command(command)
            return command

        return make


def define(name: str, *, examples: Sequence[str] = ()) -> Callable[[Callable[..., None]], Command]:
    """Make a command of a function that takes the Context and then its own options.

    The docstring is the help; its first line must be the line in the table of `cli.main`.
    """

    def make(function: Callable[..., None]) -> Command:
        return click.command(name, cls=Command, examples=examples)(click.pass_obj(function))

    return make


def write_common(command: click.Command, ctx: click.Context, formatter: click.HelpFormatter) -> None:
    """The section of a help page that is the same on all of them."""
    options = [p for p in command.params if isinstance(p, Common)]
    rows = [option.get_help_record(ctx) for option in (*options, command.get_help_option(ctx)) if option]
    with formatter.section("Everywhere"):
        formatter.write_dl([row for row in rows if row is not None])


def unknown_command(
    name: str, path: str, known: Mapping[str, object], habits: Mapping[str, str] | None = None
) -> UsageError:
    """The error for a command that is not there, with the one that was probably meant."""
    import difflib

    near = [(habits or {})[name]] if name in (habits or {}) else difflib.get_close_matches(name, known, n=1)
    question = f" Did you mean {near[0]!r}?" if near else ""
    return UsageError(
        f"unknown command {name!r}.{question}", f"`{path} --help` lists them", code="unknown-command"
    )
