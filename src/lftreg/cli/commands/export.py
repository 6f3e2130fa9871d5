"""`lftreg export`"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from lftreg.registry import Registry, Version


@dataclass(frozen=True, slots=True)
class Written:
    """What a format wrote: the path of it, the names of its files, more for scripts, and what to type next."""

    path: Path
    files: list[str]
    more: dict[str, Any] = field(default_factory=dict)
    next: str | None = None


def _peft(registry: Registry, version: Version, output: Path) -> Written:
    from lftreg.remotes.folder import export_folder

    folder = export_folder(registry, version, output)
    return Written(folder, _names(folder), next=f"lftreg import {shlex.quote(str(folder))} --name NAME")


def _merged(registry: Registry, version: Version, output: Path) -> Written:
    from lftreg.composer.fuse import fuse

    done = fuse(version, registry, output)
    more = {"tensors": {"changed": done.changed, "copied": done.copied}}
    return Written(done.folder, _names(done.folder), more)


def _gguf(registry: Registry, version: Version, output: Path) -> Written:
    from lftreg.composer.gguf import write_gguf

    file = write_gguf(version, registry, output)
    return Written(file, [file.name])


def _recipe(registry: Registry, version: Version, output: Path) -> Written:
    from lftreg.composer.recipes import save_recipe

    save_recipe(version, output)
    return Written(output, [output.name], next=f"lftreg compose --recipe {shlex.quote(str(output))}")


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What --format takes, and who writes it. A writer makes `output` whole or leaves nothing there.
FORMATS: dict[str, Callable[[Registry, Version, Path], Written]] = {
    "peft": _peft,
    "merged": _merged,
    "gguf": _gguf,
    "recipe": _recipe,
}


@define(
    "export",
    examples=(
        "lftreg export support@prod --output support-adapter",
        "lftreg export support@prod --format merged --output support-model",
        "lftreg export support@prod --format gguf --output support.gguf",
        "lftreg export desk --recipe --output desk.recipe.json",
    ),
)
@click.argument("ref", type=REF)
@click.option(
    "--format",
    "format_",
    type=click.Choice(list(FORMATS)),
    help="What to write; peft if left out.",
)
@click.option("--recipe", is_flag=True, help="The same as --format recipe.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The folder or file to make.",
)
def command(context: Context, ref: str, format_: str | None, recipe: bool, output: Path) -> None:
    """Write an adapter for others to use.

    peft: a folder that `PeftModel.from_pretrained(base, FOLDER)` loads; `lftreg import` takes it back.

    merged: a folder with the base and the adapter in its weights, which `from_pretrained(FOLDER)` of
    transformers loads by itself. It is written block by block, so the model need not fit in memory.

    gguf: a file for `llama-cli --lora FILE`, beside the base as GGUF. Needs `pip install 'lftreg[gguf]'`.

    recipe: about a kilobyte from which `lftreg compose --recipe FILE` makes a composition again, byte for
    byte, wherever its parents are.
    """
    if recipe and format_ not in (None, "recipe"):
        raise UsageError(f"--recipe and --format {format_} are two things", "give one of them")
    format_ = "recipe" if recipe else format_ or "peft"
    version = context.registry.get(ref)
    written = FORMATS[format_](context.registry, version, output.absolute())
    document = {
        "ref": version.ref, "format": format_, "path": str(written.path), "files": written.files, **written.more,
    }  # fmt: skip
    context.out.result(document, lambda console: None)
    if context.out.quiet and not context.out.json:
        context.out.lines([str(written.path)])
    context.out.note(f"wrote {version.ref} to {written.path}: {', '.join(written.files)}")
    if written.next is not None:
        context.out.next(written.next)
