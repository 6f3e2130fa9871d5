"""`lftreg export`"""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context


@define("export", examples=("lftreg export support@prod --output support-adapter",))
@click.argument("ref", type=REF)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["peft"]),
    default="peft",
    show_default=True,
    help="What to write.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="PATH",
    help="The folder to make.",
)
def command(context: Context, ref: str, format_: str, output: Path) -> None:
    """Write an adapter to a folder that PEFT reads.

    `PeftModel.from_pretrained(base, FOLDER)` loads it; `lftreg import` takes it back.
    """
    from lftreg.remotes.folder import export_folder

    version = context.registry.get(ref)
    written = export_folder(context.registry, version, output.absolute())
    files = sorted(path.name for path in written.iterdir())
    document = {"ref": version.ref, "format": format_, "path": str(written), "files": files}
    context.out.result(document, lambda console: None)
    if context.out.quiet and not context.out.json:
        context.out.lines([str(written)])
    context.out.note(f"wrote {version.ref} to {written}: {', '.join(files)}")
    context.out.next(f"lftreg import {shlex.quote(str(written))} --name NAME")
