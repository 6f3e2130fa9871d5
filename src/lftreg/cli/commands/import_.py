"""`lftreg import`"""

from __future__ import annotations

import shlex
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import BASE
from lftreg.cli.context import Context
from lftreg.cli.tables import count, print_fields
from lftreg.errors import NotFound, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Version

RECIPES = (".json", ".toml")


@define(
    "import",
    examples=(
        "lftreg import ./support-adapter --name support --base starter",
        "lftreg import support.lftreg",
    ),
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Its name here; the folder's, if left out.")
@click.option(
    "--base", type=BASE, metavar="BASE", help="The base it was made for; its own word, if known here."
)
def command(context: Context, path: Path, name: str | None, base: str | None) -> None:
    """Take in an adapter from a PEFT folder, or from a bundle.

    Only safetensors and plain LoRA come in; nothing of it is run, and what it says of its base is compared
    with the bases known here, never opened. BASE is `starter`, a folder or a hub id.

    A bundle is a file of `lftreg export --format bundle`. What its author says of runs, scores and tags
    is kept in files named theirs-..., not as measurements. A recipe is for `lftreg compose --recipe`.
    """
    if not path.exists() and not path.is_symlink():
        raise NotFound(
            f"there is no {path}", "give the folder that holds adapter_config.json", code="unknown-path"
        )
    if path.suffix in RECIPES:
        raise UsageError(
            f"{path.name} is a recipe, which is composed and not imported",
            f"lftreg compose --recipe {shlex.quote(str(path))}",
            code="recipe",
        )
    known = None
    if path.is_dir():
        version = _from_folder(context, path, name, base)
    else:
        from lftreg.remotes.bundle import import_bundle

        version, known = import_bundle(context.registry, path, name=name, base=base)
    document = {**documents.made(version), "known": known}
    context.out.result(document, partial(_render, version), bare=[version.ref])
    if known:
        context.out.note(f"{version.ref} was here already, with the same content")
    context.out.next(f'lftreg generate {version.name} "..."')


def _from_folder(context: Context, path: Path, name: str | None, base: str | None) -> Version:
    from lftreg.remotes.bases import base_of
    from lftreg.remotes.folder import import_folder
    from lftreg.tensors import settings_of

    name = context.registry.check_name(path.absolute().name.lower() if name is None else name)
    declared = settings_of(path).get("base_model_name_or_path")
    return import_folder(context.registry, path, name=name, base=base_of(context.registry, declared, base))


def _render(version: Version, console: Console) -> None:
    print_fields(console, taken_in(version))


def taken_in(version: Version) -> dict[str, str]:
    """What people read of a version that came from elsewhere."""
    return {
        "adapter": version.ref,
        "base": version.base.id,
        "rank": str(version.rank),
        "targets": ", ".join(version.target_modules),
        "trainable": f"{count(version.trainable_parameters)} parameters",
        "digest": documents.digest(version.digest),
    }
