"""`lftreg metrics`"""

from __future__ import annotations

import inspect
from functools import partial
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.complete import METRIC
from lftreg.cli.context import Context
from lftreg.cli.tables import Column, print_fields, print_table, source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from lftreg.plugins.host import Registered
    from lftreg.plugins.types import Metric

_BETTER = {"higher": "higher is better", "lower": "lower is better", None: "neither way is better"}
_UNIT = {"share": "%", "points": "0 to 100", "number": "a number"}
_NEEDS = {
    "references": "answers to compare with",
    "base": "the bare base's own answers",
    "paraphrases": "other wordings of the prompts",
    "samples": "several answers drawn for each prompt",
    "tests": "Python that tests each answer",
    "losses": "losses of the references",
    "embeddings": "hidden states of the base",
}


@define("metrics", examples=("lftreg metrics", "lftreg metrics perplexity"))
@click.argument("name", required=False, type=METRIC)
def command(context: Context, name: str | None) -> None:
    """List the ways to score answers, or explain one.

    What a metric needs is left out of an evaluation where a suite does not have it. Those of BLEU, chrF and ROUGE,
    and every interval, need `pip install 'lftreg[eval]'`.
    """
    found = context.host.metrics()
    if name is not None:
        metric = context.host.metric(name)
        context.out.result(_document(found[name]), partial(_explain, metric, found[name]))
        return
    context.out.result(
        [_document(entry) for entry in found.values()], partial(_render, found), bare=list(found)
    )
    context.out.next("lftreg metrics NAME")


def _document(entry: Registered[Metric]) -> dict[str, Any]:
    metric = entry.value
    return {
        "name": metric.name,
        "summary": metric.summary,
        "better": metric.better,
        "unit": metric.unit,
        "needs": list(metric.needs),
        "own_test": metric.test is not None,
        "how": _how(metric) or None,
        "plugin": entry.plugin,
        "distribution": entry.distribution,
    }


def _how(metric: Metric) -> str:
    """What the author says of the formula, a paragraph a line."""
    paragraphs = (inspect.getdoc(metric.measure) or "").split("\n\n")
    return "\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _render(found: Mapping[str, Registered[Metric]], console: Console) -> None:
    columns = (
        Column("metric", style="bold"),
        Column("better", weight=1),
        Column("needs", weight=3),
        Column("from", weight=4),
        Column("what it says", wrap=True),
    )
    rows = [
        [
            name,
            entry.value.better or "",
            ", ".join(entry.value.needs),
            source(entry),
            entry.value.summary,
        ]
        for name, entry in found.items()
    ]
    if rows:
        print_table(console, columns, rows)


def _explain(metric: Metric, entry: Registered[Metric], console: Console) -> None:
    print_fields(
        console,
        {
            "metric": metric.name,
            "says": metric.summary,
            "how": _how(metric),
            "better": _BETTER[metric.better],
            "unit": _UNIT[metric.unit],
            "needs": ", ".join(_NEEDS.get(need, need) for need in metric.needs) or "the answers alone",
            "difference": "judged by a test of its own" if metric.test else "judged by the items, in pairs",
            "from": source(entry),
        },
    )
