"""`lftreg show`"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, ago, count, print_fields, print_table, short, size, tag_line

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Recipe, Run, Version


@define(
    "show",
    examples=(
        "lftreg show support",
        "lftreg show support@prod --json",
        "lftreg show advisor_desk --report --html advisor_desk.html",
    ),
)
@click.argument("ref", type=REF)
@click.option("--report", is_flag=True, help="What its composition did: cosines, sign conflicts, errors.")
@click.option("--all-layers", is_flag=True, help="The report of every layer, as -v does.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The report as a page, too; FILE must not be there yet.",
)
def command(context: Context, ref: str, report: bool, all_layers: bool, html: Path | None) -> None:
    """Show everything known about a version.

    REF is a name (its newest version), NAME@3, NAME@ALIAS or NAME@sha256:DIGEST.
    """
    version = context.registry.get(ref)
    if report or all_layers or html is not None:
        _report(context, version, all_layers or context.out.verbose, html)
        return
    context.out.result(documents.everything(version), partial(_render, version))


def _report(context: Context, version: Version, every_layer: bool, html: Path | None) -> None:
    """The report of a composition in place of the rest; its document beside it."""
    from lftreg.cli import pages, report_view

    if html is not None:
        pages.check_free(html)
    found = report_view.read_report(version, context.registry)
    document: dict[str, Any] = {**documents.everything(version), "report": report_view.document(found)}
    if html is not None:
        document["html"] = str(pages.write_page(html.absolute(), report_view.page(version, found)))
    context.out.result(document, partial(report_view.render, version, found, every_layer))
    if html is not None:
        context.out.note(f"wrote {html}")


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
        "method": ", ".join([recipe.method, *_options(recipe)]),
        "parents": "\n".join(f"{p.weight:g} × {p.ref}  {short(p.digest)}" for p in recipe.parents),
        "error": None if error is None else f"{error:.1e} of the exact weighted sum",
    }


def _options(recipe: Recipe) -> list[str]:
    """The options of a composition in words; rules by layer are too long for a line."""
    return [
        key.replace("_", " ")
        if value is True or key == "layer_weights"
        else f"{key.replace('_', ' ')} {value}"
        for key, value in recipe.options.items()
    ]
