"""`lftreg export`"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
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


def _bundle(registry: Registry, version: Version, output: Path) -> Written:
    from lftreg.remotes.bundle import export_bundle

    files = export_bundle(registry, version, output)
    return Written(output, files, next=f"lftreg import {shlex.quote(str(output))}")


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


def _ray(registry: Registry, versions: Sequence[Version], output: Path) -> Written:
    from lftreg.remotes.vllm import export_ray

    index = export_ray(registry, versions, output)
    more = {"max_lora_rank": index["max_lora_rank"], "adapters": index["adapters"]}
    return Written(output, _names(output), more)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# What --format takes, and who writes it. A writer makes `output` whole or leaves nothing there. RAY takes several.
RAY = "ray"
FORMATS: dict[str, Callable[[Registry, Version, Path], Written]] = {
    "peft": _peft,
    "bundle": _bundle,
    "merged": _merged,
    "gguf": _gguf,
    "recipe": _recipe,
}


@define(
    "export",
    examples=(
        "lftreg export support@prod --output support-adapter",
        "lftreg export support@prod --format bundle --output support.lftreg",
        "lftreg export support@prod --format merged --output support-model",
        "lftreg export support@prod --format gguf --output support.gguf",
        "lftreg export desk --recipe --output desk.recipe.json",
        "lftreg export support@prod desk --ray --output adapters",
    ),
)
@click.argument("refs", metavar="REF...", type=REF, nargs=-1, required=True)
@click.option(
    "--format",
    "format_",
    type=click.Choice([*FORMATS, RAY]),
    help="What to write; peft if left out.",
)
@click.option("--recipe", is_flag=True, help="The same as --format recipe.")
@click.option("--ray", is_flag=True, help="The same as --format ray.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The folder or file to make.",
)
def command(
    context: Context, refs: tuple[str, ...], format_: str | None, recipe: bool, ray: bool, output: Path
) -> None:
    """Write an adapter for others to use.

    peft: a folder that `PeftModel.from_pretrained(base, FOLDER)` loads; `lftreg import` takes it back.

    bundle: one file with everything known of the version, its run, recipe, scores and charts among it, and
    no path, host or user of this machine. The same version gives the same bytes; `lftreg import` takes it back.

    merged: a folder with the base and the adapter in its weights, which `from_pretrained(FOLDER)` of
    transformers loads by itself. It is written block by block, so the model need not fit in memory.

    gguf: a file for `llama-cli --lora FILE`, beside the base as GGUF. Needs `pip install 'lftreg[gguf]'`.

    recipe: about a kilobyte from which `lftreg compose --recipe FILE` makes a composition again, byte for
    byte, wherever its parents are.

    ray: what `dynamic_lora_loading_path` of Ray Serve LLM holds, of one adapter or several of one base, once it is
    copied to a bucket. What vLLM cannot serve is refused with the reason. vLLM itself needs no export: see
    docs/vllm.md.
    """
    format_ = _chosen(format_, recipe, ray)
    if format_ != RAY and len(refs) > 1:
        raise UsageError(f"--format {format_} writes one adapter", "export each to its own --output")
    versions = [context.registry.get(ref) for ref in refs]
    if format_ == RAY:
        written = _ray(context.registry, versions, output.absolute())
    else:
        written = FORMATS[format_](context.registry, versions[0], output.absolute())
    told = ", ".join(version.ref for version in versions)
    document = {
        "ref": versions[0].ref if len(versions) == 1 else None,
        "format": format_, "path": str(written.path), "files": written.files, **written.more,
    }  # fmt: skip
    context.out.result(document, lambda console: None)
    if context.out.quiet and not context.out.json:
        context.out.lines([str(written.path)])
    context.out.note(f"wrote {told} to {written.path}: {', '.join(written.files)}")
    if written.next is not None:
        context.out.next(written.next)


def _chosen(format_: str | None, recipe: bool, ray: bool) -> str:
    """The format that --format and its short forms name. Raises UsageError where they name two."""
    named = [word for word, given in (("recipe", recipe), (RAY, ray)) if given]
    for word in named:
        if format_ not in (None, word):
            raise UsageError(f"--{word} and --format {format_} are two things", "give one of them")
    if len(named) > 1:
        raise UsageError("--recipe and --ray are two things", "give one of them")
    return named[0] if named else format_ or "peft"
