"""`lftreg diff`"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.errors import UsageError


@define(
    "diff",
    examples=(
        "lftreg diff support@1 support@2",
        "lftreg diff support finance --html diff.html",
    ),
)
@click.argument("a", type=REF)
@click.argument("b", type=REF)
@click.option("--all-layers", is_flag=True, help="Every layer, as -v does.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A page of it, too; FILE must not be there yet.",
)
def command(context: Context, a: str, b: str, all_layers: bool, html: Path | None) -> None:
    """Show what changed from one version to another.

    Files, configuration, training, recipe, tags; and, where both stand on one base, how far their weights are from
    each other, measured on their factors. The base itself is not needed.
    """
    from lftreg.cli import diff_view, differences, pages
    from lftreg.composer.compare import compare

    if html is not None:
        pages.check_free(html)
    registry = context.registry
    first, second = registry.get(a), registry.get(b)
    records = differences.records(first, second, (registry.config(first), registry.config(second)))
    weights, reason = None, None
    try:
        with context.out.progress("comparing") as progress:
            weights = compare(
                first, second, registry, lambda doing, done=0: progress.update(done, note=doing)
            )
    except UsageError as error:  # damage is no answer, and ends the command
        reason = error.message
    found = diff_view.Difference(records, weights, reason)
    document = {
        **records,
        "weights": None if weights is None else differences.weights(weights),
        "reason": reason,
    }
    if html is not None:
        document["html"] = str(pages.write_page(html.absolute(), diff_view.page(found)))
    context.out.result(document, partial(diff_view.render, found, all_layers or context.out.verbose))
    if html is not None:
        context.out.note(f"wrote {html}")
