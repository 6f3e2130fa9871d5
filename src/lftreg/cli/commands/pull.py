"""`lftreg pull`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.commands.import_ import taken_in
from lftreg.cli.complete import BASE
from lftreg.cli.context import Context
from lftreg.cli.sharing import moving, origin_line, patience
from lftreg.cli.tables import print_fields

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.remotes.sharing import Pulled


@define(
    "pull",
    examples=(
        "lftreg pull our-desk/support",
        "lftreg pull our-desk/support@v3 --name support",
        "lftreg pull someone/their-lora --base Qwen/Qwen3-0.6B",
        "lftreg pull folder:/srv/share/support",
    ),
)
@click.argument("place", metavar="PLACE")
@click.option("--name", "--as", "name", metavar="NAME", help="Its name here; the repository's, if left out.")
@click.option(
    "--base", type=BASE, metavar="BASE", help="The base it was made for; its own word, if known here."
)
def command(context: Context, place: str, name: str | None, base: str | None) -> None:
    """Take in an adapter from the Hub, or from a folder.

    PLACE is ORG/NAME, ORG/NAME@REVISION or folder:PATH. A revision is a branch, a tag or a commit, and means one
    commit whatever moves meanwhile. Every file is held to its digest, only safetensors and plain LoRA come in, and
    nothing of it is run. `lftreg show` tells where it came from.
    """
    from lftreg.remotes import sharing

    where = sharing.parse_place(place)
    with moving(context, f"fetching {where}") as told:
        pulled = sharing.pull(
            context.registry, where, context.host, name=name, base=base, patience=patience(context), told=told
        )
    version = pulled.version
    document = documents.made(version) | {"origin": dict(pulled.origin), "unchanged": pulled.unchanged}
    context.out.result(document, partial(_render, pulled), bare=[version.ref])
    if pulled.unchanged:
        context.out.note(f"{version.ref} is this commit already: nothing was fetched")
    context.out.next(f'lftreg generate {version.name} "..."')


def _render(pulled: Pulled, console: Console) -> None:
    print_fields(console, taken_in(pulled.version) | {"from": origin_line(pulled.origin)})
