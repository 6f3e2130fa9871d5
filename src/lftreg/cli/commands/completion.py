"""`lftreg completion`"""

from __future__ import annotations

import click

from lftreg.cli.command import define
from lftreg.cli.complete import SHELLS, script
from lftreg.cli.context import Context


@define(
    "completion",
    examples=(
        'eval "$(lftreg completion bash)"                 # in ~/.bashrc',
        'eval "$(lftreg completion zsh)"                  # in ~/.zshrc, after compinit',
        "lftreg completion fish > ~/.config/fish/completions/lftreg.fish",
    ),
)
@click.argument("shell", type=click.Choice(SHELLS))
def command(context: Context, shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options, and the names of adapters, aliases, domains and methods.
    """
    text = script(click.get_current_context().find_root().command, shell)
    context.out.result({"shell": shell, "script": text}, lambda console: context.out.raw(text))
