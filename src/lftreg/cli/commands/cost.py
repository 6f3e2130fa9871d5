"""`lftreg cost`"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli import cost_view
from lftreg.cli.arguments import COUNT
from lftreg.cli.command import define
from lftreg.cli.complete import DATA, REF
from lftreg.cli.context import Context
from lftreg.cli.costing import Asked, Row, of_plan, of_version
from lftreg.cli.options import MAP, QUANTIZE, TRUST
from lftreg.errors import NotFound, UsageError

if TYPE_CHECKING:
    from lftreg.registry import Version


@define(
    "cost",
    examples=(
        "lftreg cost customer_support --before --base Qwen/Qwen3-8B --gpu-type H100",
        "lftreg cost --data ./inbox.jsonl --gpu-type L4 --queries-per-month 100000",
        "lftreg cost inbox@2 --price-per-hour 0.60",
        "lftreg cost inbox@1 inbox@2",
    ),
)
@click.argument("words", nargs=-1, metavar="[REF|DOMAIN]...", type=REF)
@click.option(
    "--data", multiple=True, type=DATA, metavar="FILE[:WEIGHT]", help="Data to train on; repeatable."
)
@MAP
@click.option("--before", is_flag=True, help="Words are domains, even where adapters have their names.")
@click.option("--base", metavar="BASE", help="Before a run: starter, a folder, or a hub id.")
@click.option("--rank", type=int, metavar="N", help="Before a run: rank of the factors (16).")
@click.option("--epochs", type=int, metavar="N", help="Before a run: passes over the data.")
@click.option("--batch-size", type=int, metavar="N", help="Before a run: rows at once (8).")
@QUANTIZE
@TRUST
@click.option("--gpu-type", metavar="NAME", help="Calculate for this GPU, such as H100, or for cpu.")
@click.option(
    "--price-per-hour", type=float, metavar="X", help="US dollars an hour; the table's if left out."
)
@click.option("--prompt-tokens", type=COUNT, metavar="N", help="Tokens of a question (by the data, or 50).")
@click.option("--answer-tokens", type=COUNT, metavar="N", help="Tokens of an answer (by the data, or 100).")
@click.option(
    "--context-tokens", type=COUNT, default=200, show_default=True, metavar="N", help="Tokens of a passage."
)
@click.option(
    "--top-k", type=COUNT, default=3, show_default=True, metavar="K", help="Passages before a question."
)
@click.option(
    "--concurrency",
    type=COUNT,
    metavar="N",
    help="Queries that are answered at once (one; and a busy server).",
)
@click.option("--queries-per-month", type=COUNT, metavar="N", help="Tell of a month of so many as well.")
def command(
    context: Context,
    words: Sequence[str],
    data: Sequence[str],
    mapping: Sequence[str],
    before: bool,
    gpu_type: str | None,
    price_per_hour: float | None,
    prompt_tokens: int | None,
    answer_tokens: int | None,
    context_tokens: int,
    top_k: int,
    concurrency: int | None,
    queries_per_month: int | None,
    **options: Any,
) -> None:
    """What training and answering cost, before and after.

    A name of an adapter tells what its run took, a domain or --data what one would take. Beside it: what training
    every weight would take, what a query costs with the adapter and with retrieved passages before it, and after
    how many queries training is paid back. An answer waits for memory, so this hangs on how many are written at
    once. Every figure says whether it was measured or estimated; -v tells how.
    """
    if bool(words) == bool(data):
        what = "both words and --data" if data else "the cost of what?"
        raise UsageError(what, "name an adapter or a domain, or give --data FILE")
    if mapping and not data:
        raise UsageError("--map tells the columns of --data", "a domain has none")
    if price_per_hour is not None and not 0 <= price_per_hour < math.inf:
        raise UsageError(f"--price-per-hour {price_per_hour} makes no sense", "give US dollars, such as 2.49")
    price = context.settings.price_per_hour if price_per_hour is None else price_per_hour
    asked = Asked(
        gpu_type, price, prompt_tokens, answer_tokens, context_tokens, top_k, queries_per_month, concurrency
    )
    if data:
        rows = [_own_data(context, data, mapping, options, asked)]
    else:
        rows = [_named(context, word, before, options, asked) for word in words]
    documents = [cost_view.document(row) for row in rows]
    context.out.result(
        documents[0] if len(rows) == 1 else documents, partial(cost_view.render, rows, context.out.verbose)
    )
    if any(row.costs.machine.price is None for row in rows):
        context.out.note("no price is known: --price-per-hour, or lftreg config set price_per_hour DOLLARS")


def _named(context: Context, word: str, before: bool, options: dict[str, Any], asked: Asked) -> Row:
    """A word as an adapter where there is one, else as a domain."""
    if before:
        return _planned(context, context.host.domain(word), {"domain": word}, options, asked)
    try:
        version = context.registry.get(word)
    except NotFound:
        if "@" in word or word not in context.host.domains():
            raise
        return _planned(context, context.host.domain(word), {"domain": word}, options, asked)
    given = [
        name for name in ("base", "rank", "epochs", "batch_size", "quantize") if options.get(name) is not None
    ]
    if given:
        option = given[0].replace("_", "-")
        hint = f"leave it out, or say --before for a run on the domain {word}"
        raise UsageError(f"--{option} is for a run to come, and {version.ref} was made already", hint)
    return of_version(version, asked, _facts(context, version))


def _facts(context: Context, version: Version) -> Mapping[str, Any]:
    """What was known of the rows and of the machine that trained a version; nothing of one without a record."""
    from lftreg.training.losses import LOSSES, Losses

    if not any(file.name == LOSSES for file in version.files):
        return {}
    return Losses.from_bytes(context.registry.read(version, LOSSES)).facts


def _own_data(
    context: Context, data: Sequence[str], mapping: Sequence[str], options: dict[str, Any], asked: Asked
) -> Row:
    from lftreg.cli.own_data import lasting, read_own

    own = read_own(context, data, mapping, None)
    return _planned(context, own.domain, {"data": lasting(data), "map": list(mapping)}, options, asked)


def _planned(
    context: Context, domain: Any, source: dict[str, Any], options: dict[str, Any], asked: Asked
) -> Row:
    from lftreg.training import make_plan

    options = dict(options)
    trust = options.pop("trust_remote_code", False)
    base = options.get("base") or context.settings.base
    plan = make_plan(
        domain, name=None, registry=context.registry, host=context.host, source=source, trust_code=trust,
        **(options | {"base": base}),
    )  # fmt: skip
    return of_plan(plan, asked)
