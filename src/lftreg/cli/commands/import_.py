"""`lftreg import`"""

from __future__ import annotations

import json
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

STARTER = "starter"
LARGEST_CONFIG = 1_000_000  # bytes; larger ones are refused unread


@define("import", examples=("lftreg import ./support-adapter --name support --base starter",))
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--name", metavar="NAME", help="Its name here; the folder's, if left out.")
@click.option(
    "--base", type=BASE, metavar="BASE", help="The base it was made for; its own word, if known here."
)
def command(context: Context, path: Path, name: str | None, base: str | None) -> None:
    """Take in an adapter from a PEFT folder.

    Only safetensors and plain LoRA come in; nothing of it is run. BASE is `starter`, a folder or a
    hub id.
    """
    from lftreg.models.base import find_base
    from lftreg.remotes.folder import import_folder

    if not path.exists():
        raise NotFound(
            f"there is no {path}", "give the folder that holds adapter_config.json", code="unknown-path"
        )
    found = find_base(base or _declared_base(context, path), context.registry)
    version = import_folder(
        context.registry, path, name=name or path.absolute().name.lower(), base=found.record
    )
    context.out.result(documents.made(version), partial(_render, version))
    context.out.next(f'lftreg generate {version.name} "..."')


def _declared_base(context: Context, path: Path) -> str:
    """The base that an adapter's configuration names, where it is one of ours.

    A stranger's word must not start a download, so any other has to be given by hand.
    """
    from lftreg.registry import CONFIG

    config = path / CONFIG
    if not config.is_file() or config.stat().st_size > LARGEST_CONFIG:
        return STARTER  # whatever it is, it is refused when it is read
    try:
        declared = json.loads(config.read_bytes()).get("base_model_name_or_path")
    except (ValueError, AttributeError, RecursionError):
        return STARTER
    if declared in [STARTER, *(base.id for base, _ in context.registry.bases())]:
        return str(declared)
    said = f" Its configuration says {declared!r}." if isinstance(declared, str) and declared else ""
    raise UsageError(
        f"which base was {path} made for?{said}",
        "--base starter, --base FOLDER or --base ORG/MODEL",
        code="unknown-base",
    )


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
