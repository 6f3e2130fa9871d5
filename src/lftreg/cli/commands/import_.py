"""`lftreg import`"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import BASE
from lftreg.cli.context import Context
from lftreg.cli.tables import count, print_fields

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Version


@define("import", examples=("lftreg import ./support-adapter --name support --base starter",))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Its name here; the folder's, if left out.")
@click.option("--base", type=BASE, metavar="BASE", help="The base it was made for; the setting, if left out.")
def command(context: Context, path: Path, name: str | None, base: str | None) -> None:
    """Take in an adapter from a PEFT folder.

    Only safetensors and plain LoRA come in; nothing of it is run. BASE is `starter`, a folder or a
    hub id.
    """
    from lftreg.models.base import find_base
    from lftreg.remotes.folder import import_folder

    found = find_base(base or context.settings.base, context.registry)
    version = import_folder(
        context.registry, path, name=name or path.absolute().name.lower(), base=found.record
    )
    context.out.result(documents.made(version), partial(_render, version))
    context.out.next(f"lftreg generate {version.name} 'Hello'")


def _render(version: Version, console: Console) -> None:
    print_fields(
        console,
        {
            "adapter": version.ref,
            "base": version.base.id,
            "rank": str(version.rank),
            "targets": ", ".join(version.target_modules),
            "trainable": f"{count(version.trainable_parameters)} parameters",
            "digest": documents.digest(version.digest),
        },
    )
