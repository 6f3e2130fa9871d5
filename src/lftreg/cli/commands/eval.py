"""`lftreg eval`"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import eval_view
from lftreg.cli.command import define
from lftreg.cli.complete import REF
from lftreg.cli.context import Context
from lftreg.cli.options import QUANTIZE, TRUST
from lftreg.errors import UsageError

if TYPE_CHECKING:
    from lftreg.evaluation.evaluate import Asked, Report
    from lftreg.evaluation.suite import Suite


@define(
    "eval",
    examples=(
        "lftreg eval customer_support",
        "lftreg eval support@2 --against support@1",
        "lftreg eval support advisor_desk --suite ./questions.jsonl --samples 5",
        "lftreg eval coder --suite code_generation --allow-code-execution",
        "lftreg eval support --blind",
    ),
)
@click.argument("refs", nargs=-1, required=True, type=REF, metavar="REF...")
@click.option("--suite", metavar="DOMAIN|FILE", help="What to ask; left out, the test split of its own data.")
@click.option("--against", type=REF, metavar="REF", help="Compare with this version, beside the base.")
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Measure this only; repeatable.")
@click.option(
    "--limit", type=click.IntRange(min=1), metavar="N", help="Ask N items only, chosen by their hash."
)
@click.option("--map", "mapping", multiple=True, metavar="ROLE=COLUMN", help="Which column of FILE is what.")
@click.option(
    "--samples", type=click.IntRange(0, 100), default=0, metavar="N", help="Draw N answers more to each item."
)
@click.option(
    "--sample-temperature", type=click.FloatRange(0.0, 100.0, min_open=True), default=0.8, show_default=True,
    metavar="X", help="The temperature they are drawn at.",
)  # fmt: skip
@click.option(
    "--allow-code-execution", is_flag=True, help="Run the code that is answered, to see if it is right."
)
@click.option("--blind", is_flag=True, help="Choose between two hidden answers yourself.")
@click.option(
    "--max-tokens", type=int, default=128, show_default=True, metavar="N", help="The longest answer."
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of what is drawn.")
@QUANTIZE
@TRUST
def command(
    context: Context,
    refs: Sequence[str],
    suite: str | None,
    against: str | None,
    limit: int | None,
    mapping: Sequence[str],
    blind: bool,
    **asked: Any,
) -> None:
    """Measure adapters against their base, with intervals.

    Base and adapters answer the same items. Differences are taken item by item, and named only where they are
    more than chance.
    """
    from lftreg.cli.own_data import parse_mapping
    from lftreg.evaluation.together import grouped, kept, suites

    wanted = _asked(against, **asked)
    chosen = suites(refs, suite, context.registry, context.host, limit, parse_mapping(mapping))
    if blind:
        from lftreg.cli.blind import ask_a_person

        if len(chosen) > 1:
            raise UsageError("--blind takes one adapter", "the other is the base, or --against REF")
        ask_a_person(context, refs[0], chosen[0][1], wanted)
        return
    documents = [
        told
        for group, one in grouped(chosen)
        for told in kept(_evaluated(context, group, one, wanted), context.registry)
    ]
    context.out.result(
        documents[0] if len(documents) == 1 else documents,
        partial(eval_view.print_report, reports=documents, whole=context.out.verbose, bare=context.out.quiet),
    )
    context.out.next("lftreg leaderboard")


def _asked(against: str | None, **given: Any) -> Asked:
    from lftreg.evaluation.evaluate import Asked
    from lftreg.models.answers import Decoding

    return Asked(
        decoding=Decoding(max_tokens=given["max_tokens"], seed=given["seed"]),
        metrics=tuple(given["metrics"]) or None,
        against=against,
        samples=given["samples"],
        temperature=given["sample_temperature"],
        allow_code_execution=given["allow_code_execution"],
        quantize=given["quantize"],
        trust_code=given["trust_remote_code"],
    )


def _evaluated(context: Context, refs: Sequence[str], suite: Suite, asked: Asked) -> Report:
    from lftreg.evaluation.evaluate import evaluate

    with context.out.progress(f"asking {suite.name}", None) as progress:
        tell = eval_view.told_to(progress, suite.name)
        return evaluate(refs, suite, context.registry, context.host, asked, tell)
