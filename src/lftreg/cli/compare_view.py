"""A comparison as it is told: a table for people, a document for scripts and for `lftreg advise`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from lftreg.cli.tables import Column, print_fields, print_table

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.evaluation.compare import Comparison
    from lftreg.evaluation.figures import Arm, Interval

METRICS = {"token_f1": "token F1", "rouge_l": "ROUGE-L"}


def as_document(found: Comparison) -> dict[str, Any]:
    """Everything, under stable keys. Shares are 0 to 1, money in US dollars; null is not known."""
    return {
        "data": found.questions,
        "docs": str(found.documents.folder),
        "documents": {
            "files": found.documents.files,
            "passages": len(found.documents.passages),
            "left_out": dict(found.documents.left_out),
        },
        "n": len(found.items),
        "ref": None if found.version is None else found.version.ref,
        "base": found.base,
        "metric": found.settings.metric,
        "settings": {
            "shots": found.settings.shots,
            "top_k": found.settings.top_k,
            "max_tokens": found.settings.max_tokens,
            "limit": found.settings.limit,
            "seed": found.settings.seed,
            "quantize": found.settings.quantize,
        },
        "price_per_hour": found.price_per_hour,
        "arms": {name: _arm(arm) for name, arm in found.arms.items()},
        "break_even": dict(found.break_even),
        "notes": list(found.notes),
        "items": _items(found),
    }


def _arm(arm: Arm) -> dict[str, Any]:
    return {
        "quality": arm.quality,
        "ci95": arm.ci95,
        "delta": arm.delta,
        "delta_ci95": arm.delta_ci95,
        **arm.scores,
        "recall_at_k": arm.recall_at_k,
        "ttft_ms": 1000 * arm.timing.first_token,
        "seconds_per_query": arm.timing.seconds,
        "timed": arm.timing.n,
        "tokens_per_query": arm.tokens_per_query,
        "prompt_tokens": arm.prompt_tokens,
        "cost_per_1000": arm.cost_per_1000,
        "given_up": arm.given_up,
        "n": arm.n,
    }


def _items(found: Comparison) -> list[dict[str, Any]]:
    """What was asked and said, and where the documents hold the answer."""
    return [
        {
            "prompt": item.prompt,
            "reference": item.reference,
            "gold": [found.documents.passages[place].name for place in found.gold[item]],
            "answers": {arm: texts[at] for arm, texts in found.answers.items()},
            "quality": {arm: each[at] for arm, each in found.qualities.items()},
        }
        for at, item in enumerate(found.items)
    ]


def render(found: Comparison, console: Console) -> None:
    """One line an arm; where the terminal is narrow the figures that say least give way."""
    from lftreg.evaluation.arms import TITLES

    top_k = _depth(found)
    columns = [
        Column("arm", style="bold"),
        Column(METRICS[found.settings.metric], right=True),
        Column("95%", weight=4, right=True),
        Column("to base", right=True),
        Column("95% ", weight=1, right=True),
        Column("exact", weight=8, right=True),
        Column(f"recall@{top_k}", weight=5, right=True),
        Column("first", weight=2, right=True),
        Column("s/query", weight=3, right=True),
        Column("tokens", weight=6, right=True),
        Column("$/1000", weight=2, right=True),
    ]
    rows = [[TITLES[name], *_cells(arm, top_k)] for name, arm in found.arms.items()]
    print_table(console, columns, rows)
    console.print()
    print_fields(console, _fields(found))


def _cells(arm: Arm, top_k: str) -> list[str]:
    recall = None if arm.recall_at_k is None else arm.recall_at_k[top_k]
    return [
        f"{arm.quality:.3f}",
        _span(arm.ci95),
        "" if arm.delta is None else f"{arm.delta:+.3f}",
        _span(arm.delta_ci95, "+"),
        f"{arm.scores['exact_match']:.0%}",
        "" if recall is None else f"{recall:.0%}",
        f"{1000 * arm.timing.first_token:.0f} ms",
        f"{arm.timing.seconds:.2f}",
        f"{arm.tokens_per_query:.0f}",
        "" if arm.cost_per_1000 is None else f"{arm.cost_per_1000:.3g}",
    ]


def _span(interval: Interval | None, sign: str = "") -> str:
    return "" if interval is None else f"{interval[0]:{sign}.2f} to {interval[1]:{sign}.2f}"


def _depth(found: Comparison) -> str:
    """Of the depths that recall is known at the nearest to what the prompts were given."""
    from lftreg.evaluation.figures import DEPTHS

    return str(min(DEPTHS, key=lambda depth: (abs(depth - found.settings.top_k), depth)))


def _fields(found: Comparison) -> dict[str, str | None]:
    documents = found.documents
    left = ", ".join(f"{count} {reason}" for reason, count in documents.left_out.items())
    adapter = found.version.ref if found.version else "no adapter"
    return {
        "questions": f"{len(found.items):,} of {found.questions}, asked of {found.base} and {adapter}",
        "documents": f"{len(documents.passages):,} passages of {documents.files:,} files"
        + (f"; left out: {left}" if left else ""),
        "breaks even": None if found.version is None else _break_even(found),
    }


def _break_even(found: Comparison) -> str:
    """After how many queries, by the few that were timed; of cost alone, whatever the answers are worth."""
    against = {"rag": "search", "few_shot": "examples"}
    timed = min(arm.timing.n for arm in found.arms.values())
    told = "; ".join(
        f"against {words} after {count:,.0f} queries"
        if (count := found.break_even[arm]) is not None
        else f"against {words} never: a query saves nothing"
        for arm, words in against.items()
    )
    return f"{told} (by {timed} timed {'question' if timed == 1 else 'questions'}: no more than a rough idea)"
