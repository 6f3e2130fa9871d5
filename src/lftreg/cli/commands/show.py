"""`lftreg show`"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, count, print_fields, print_table, short, size, tag_line

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Run, Version


@define("show", examples=("lftreg show support", "lftreg show support@prod --json"))
@click.argument("ref", type=REF)
def command(context: Context, ref: str) -> None:
    """Show everything known about a version.

    REF is a name (its newest version), NAME@3, NAME@ALIAS or NAME@sha256:DIGEST.
    """
    version = context.registry.get(ref)
    context.out.result(documents.everything(version), partial(_render, version))


def _render(version: Version, console: Console) -> None:
    share = version.trainable_parameters / max(1, version.base.parameters + version.trainable_parameters)
    fields = {
        "adapter": version.ref,
        "aliases": ", ".join(version.aliases),
        "tags": tag_line(version.tags),
        "kind": version.kind,
        "domain": version.domain,
        "base": f"{version.base.id} ({version.base.model_type}, {count(version.base.parameters)} parameters)",
        "rank": f"{version.rank}, alpha {version.alpha:g}",
        "targets": ", ".join(version.target_modules),
        "trainable": f"{count(version.trainable_parameters)} parameters, {share:.2%} of all",
        "created": f"{ago(version.created_at)} ({documents.moment(version.created_at)})",
        "removed": None if version.removed_at is None else ago(version.removed_at),
        "sha256": version.digest,  # bare, so that it fits 80 columns
    }
    print_fields(console, fields | _run(version.run) | _recipe(version))
    console.print()
    print_table(
        console,
        (Column("file"), Column("size", right=True), Column("sha256", style="dim")),
        [[f.name, size(f.size), short(f.sha256)] for f in version.files],
    )


def _run(run: Run | None) -> dict[str, str | None]:
    if run is None:
        return {}
    from lftreg.models.tasks import unit_of

    loss, task = run.losses, run.settings.get("task", "")
    validation = (
        f"{loss['validation_before']:.3f} → {loss['validation_after']:.3f} nats a {unit_of(task)}"
        if {"validation_before", "validation_after"} <= loss.keys()
        else None
    )
    return {
        "task": task or None,
        "validation": validation,
        "accuracy": f"{loss['accuracy_before']:.1%} → {loss['accuracy_after']:.1%}"
        if "accuracy_after" in loss
        else None,
        "examples": ", ".join(f"{number} {split}" for split, number in run.examples.items()),
        "training": f"{run.tokens:,} tokens in {run.seconds:.0f} s, seed {run.seed}",
        "libraries": ", ".join(f"{name} {release}" for name, release in run.libraries.items()),
    }


def _recipe(version: Version) -> dict[str, str | None]:
    recipe = version.recipe
    if recipe is None:
        return {}
    error = recipe.relative_error
    return {
        "method": recipe.method,
        "parents": "\n".join(f"{p.weight:g} × {p.ref}  {short(p.digest)}" for p in recipe.parents),
        "error": None if error is None else f"{error:.1e} of the exact weighted sum",
    }
