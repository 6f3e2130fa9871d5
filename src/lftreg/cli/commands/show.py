"""`lftreg show`"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import documents, run_report, score_view
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.sharing import origin_line
from lftreg.cli.tables import Column, ago, count, print_fields, print_table, short, size, tag_line
from lftreg.errors import LftregError, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Recipe, Run, Score, Version
    from lftreg.training.samples import Sample


@define(
    "show",
    examples=(
        "lftreg show support",
        "lftreg show support@prod --json",
        "lftreg show support --chart --picture loss.png",
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
@click.option("--chart", is_flag=True, help="The losses of its training as a chart in the terminal.")
@click.option(
    "--picture",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Write its picture, of the losses or of the composition, as PNG; FILE must not be there yet.",
)
def command(
    context: Context,
    ref: str,
    report: bool,
    all_layers: bool,
    html: Path | None,
    chart: bool,
    picture: Path | None,
) -> None:
    """Show everything known about a version.

    REF is a name (its newest version), NAME@3, NAME@ALIAS or NAME@sha256:DIGEST.
    """
    version = context.registry.get(ref)
    if chart or picture is not None:
        if report or all_layers or html is not None:
            raise UsageError("--report and --chart are two pages", "ask for one of them")
        _curve(context, version, chart, picture)
        return
    if report or all_layers or html is not None:
        _report(context, version, all_layers or context.out.verbose, html)
        return
    from lftreg.training import shown

    samples = shown.read_samples(version, context.registry)
    scores = shown.latest(version, context.registry)
    document = shown.document(version, samples, scores) | _elsewhere(context, version)
    render = partial(_render, version, samples, scores, document, context.out.verbose)
    context.out.result(document, render)


def _document(context: Context, version: Version) -> dict[str, Any]:
    """What every form of the command tells; each adds its own keys."""
    from lftreg.training import shown

    return shown.read(version, context.registry) | _elsewhere(context, version)


def _elsewhere(context: Context, version: Version) -> dict[str, Any]:
    """Who can serve it, and where it was pulled from."""
    from lftreg.remotes.origin import read_origin

    return {"servable": _servable(context, version), "origin": read_origin(context.registry, version)}


def _servable(context: Context, version: Version) -> dict[str, Any]:
    """Whether vLLM can serve it; a version whose files are lost is shown all the same, and served by nobody."""
    from lftreg.remotes.vllm import Servable, servable

    try:
        return servable(context.registry, version).document
    except LftregError as error:
        return Servable(False, (error.message,), None).document


def _curve(context: Context, version: Version, chart: bool, picture: Path | None) -> None:
    """The losses in the terminal, the picture as a file, or both."""
    from lftreg.cli import loss_chart
    from lftreg.training import shown

    losses = shown.read_losses(version, context.registry) if chart else None
    document = _document(context, version)
    if losses is not None:
        document["losses"] = asdict(losses)
    if picture is not None:
        document["picture"] = str(loss_chart.save_picture(version, context.registry, picture.absolute()))

    def render(console: Console) -> None:
        if losses is not None:
            loss_chart.print_chart(console, losses)

    context.out.result(document, render)
    if picture is not None:
        context.out.note(f"wrote {picture}")


def _report(context: Context, version: Version, every_layer: bool, html: Path | None) -> None:
    """The report of a composition in place of the rest; its document beside it."""
    from lftreg.cli import pages, report_view

    if html is not None:
        pages.check_free(html)
    found = report_view.read_report(version, context.registry)
    document = _document(context, version)
    document["report"] = report_view.document(found)
    if html is not None:
        document["html"] = str(pages.write_page(html.absolute(), report_view.page(version, found)))
    context.out.result(document, partial(report_view.render, version, found, every_layer))
    if html is not None:
        context.out.note(f"wrote {html}")


def _render(
    version: Version,
    samples: Sequence[Sample],
    scores: Sequence[Score],
    told: Mapping[str, Any],
    whole: bool,
    console: Console,
) -> None:
    served = told["servable"]
    fields = {
        "adapter": version.ref,
        "aliases": ", ".join(version.aliases),
        "tags": tag_line(version.tags),
        "kind": version.kind,
        "from": origin_line(told["origin"]),
        "domain": version.domain,
        "base": f"{version.base.id} ({version.base.model_type}, {count(version.base.parameters)} parameters)",
        "rank": f"{version.rank}, alpha {version.alpha:g}",
        "targets": ", ".join(version.target_modules),
        "parameters": run_report.share(version),
        "vLLM": f"serves it with --max-lora-rank {served['max_lora_rank']}"
        if served["vllm"]
        else f"cannot serve it: {'; '.join(served['why'])}",
        "created": f"{ago(version.created_at)} ({documents.moment(version.created_at)})",
        "removed": None if version.removed_at is None else ago(version.removed_at),
        "damage": version.damage
        and f"{version.damage}; make or import the same content again, which heals it",
        "sha256": version.digest,  # bare, so that it fits 80 columns
    }
    print_fields(console, fields | _run(version) | _recipe(version))
    console.print()
    print_table(
        console,
        (Column("file"), Column("size", right=True), Column("sha256", style="dim")),
        [[f.name, size(f.size), short(f.sha256)] for f in version.files],
    )
    score_view.print_scores(console, scores, whole=whole)
    run_report.print_samples(console, samples, whole=whole)


def _run(version: Version) -> dict[str, str | None]:
    run = version.run
    if run is None:
        return {}
    return {
        "task": run.settings.get("task"),
        "went on from": _parent(run),
        "sweep": run_report.swept(run),
        **run_report.fields(run),
        "seed": str(run.seed),
        "libraries": ", ".join(f"{name} {release}" for name, release in run.libraries.items()),
    }


def _parent(run: Run) -> str | None:
    """The version whose factors were trained on, and how much of its data was seen again."""
    if run.parent is None:
        return None
    replay = run.settings["parent"].get("replay") or 0
    return f"{run.parent.ref}  {short(run.parent.digest)}" + (
        f", {replay:.0%} of its rows again" if replay else ""
    )


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
