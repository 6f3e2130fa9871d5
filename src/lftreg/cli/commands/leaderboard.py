"""`lftreg leaderboard`"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import click

from lftreg.cli import leaderboard_view
from lftreg.cli.command import define
from lftreg.cli.context import Context


@define(
    "leaderboard",
    examples=(
        "lftreg leaderboard",
        "lftreg leaderboard --suite customer_support --metric bits_per_byte",
        "lftreg leaderboard --all --html leaderboard.html",
    ),
)
@click.option("--suite", metavar="NAME|DIGEST", help="Of this suite only.")
@click.option("--metric", metavar="NAME", help="Rank by this; left out, by the suite's main metric.")
@click.option("--all", "everything", is_flag=True, help="Suites of under 50 items, too.")
@click.option(
    "--html",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="As a page, too; FILE must not be there yet.",
)
def command(
    context: Context, suite: str | None, metric: str | None, everything: bool, html: Path | None
) -> None:
    """Rank what was evaluated, as far as it can be told apart.

    Only scores of the same items and the same decoding share a ranking. Adapters that differ by no more than
    chance share a rank. The largest suite stands first.
    """
    from lftreg.cli import pages

    if html is not None:
        pages.check_free(html)
    if metric is not None:
        context.host.metric(metric)

    from lftreg.evaluation.leaderboard import rankings

    found = rankings(context.registry, suite, metric)
    whole = everything or context.out.verbose or suite is not None
    documents = [leaderboard_view.document(ranking) for ranking in found]
    if html is not None:
        pages.write_page(html.absolute(), leaderboard_view.page(found, whole=whole))
    context.out.result(
        documents, partial(leaderboard_view.render, found, whole=whole, bare=context.out.quiet)
    )
    if html is not None:
        context.out.note(f"wrote {html}")
