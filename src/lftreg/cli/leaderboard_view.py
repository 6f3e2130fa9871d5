"""Rankings as tables, as documents, and as a page with a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.cli import forest, pages
from lftreg.cli.tables import Column, print_table, short
from lftreg.plugins.types import ENOUGH
from lftreg.registry.score_words import decoding, figure, interval

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.evaluation.leaderboard import Place, Ranking

SHARED = "Adapters that share a rank differ by no more than chance (paired t over the items, Holm)."


def render(found: Sequence[Ranking], console: Console, *, whole: bool = True, bare: bool = False) -> None:
    """A table a ranking; those of few items only as the `whole`, or where there is nothing else."""
    from rich.text import Text

    shown, trials = parted(found, whole)
    for number, ranking in enumerate(shown):
        if number:
            console.print()
        if not bare:
            console.print(Text(title(ranking), "bold"), soft_wrap=True)
        columns = (
            Column("adapter"),
            Column("rank", right=True),
            Column(ranking.metric, right=True),
            Column("to the base", weight=1, right=True),
            Column("95% interval", weight=2, right=True),
            Column("base", weight=4),
            Column("evaluated", weight=3),
        )
        print_table(console, columns, [_row(place, ranking.metric) for place in ranking.places])
        if not bare:
            for line in trained_on(ranking):
                console.print(Text(line, "dim"), soft_wrap=True)
    if not bare:
        console.print(Text(remark(shown), "dim"), soft_wrap=True)
        if trials:
            console.print(Text(f"and {few(trials)}: --all shows them", "dim"), soft_wrap=True)


def parted(found: Sequence[Ranking], whole: bool) -> tuple[list[Ranking], list[Ranking]]:
    """What is shown and what is folded: trials, where there is something else and nobody asks for the `whole`."""
    large = [ranking for ranking in found if ranking.n >= ENOUGH]
    if whole or not large:
        return list(found), []
    return large, [ranking for ranking in found if ranking.n < ENOUGH]


def few(trials: Sequence[Ranking]) -> str:
    return f"{len(trials)} smaller {'ranking' if len(trials) == 1 else 'rankings'} of under {ENOUGH} items"


def title(ranking: Ranking) -> str:
    asked = f"{ranking.n} items, {decoding(ranking.decoding)}"
    return f"{ranking.suite} ({short(ranking.suite_digest)}) by {ranking.metric}: {asked}"


def remark(found: Sequence[Ranking]) -> str:
    small = any(ranking.n < ENOUGH for ranking in found)
    return SHARED + (f" Under {ENOUGH} items nobody is told apart." if small else "")


def trained_on(ranking: Ranking) -> list[str]:
    """Who has seen questions of the suite in training, and what became of them."""
    return [
        f"{', '.join(place.refs)} was trained on {place.seen} of the {ranking.n} questions, {_left_out(place)}"
        for place in ranking.places
        if place.seen
    ]


def _left_out(place: Place) -> str:
    if place.rank is None:
        return "and is not ranked"
    kept = place.summary.get("clean")  # else there is no base that could be asked the others alone
    return "which count neither in its figures nor in its rank" if kept else "which count in no rank"


def _row(place: Place, metric: str) -> list[str]:
    one = place.shown(metric) or place.summary
    return [
        ", ".join(place.refs),
        _rank(place),
        figure(one["value"], one["unit"]),
        figure(one["delta"], one["unit"], signed=True),
        interval(one["ci95"], one["unit"]),
        place.score.base.id,
        place.score.at.strftime("%Y-%m-%d"),
    ]


def _rank(place: Place) -> str:
    return "" if place.rank is None else str(place.rank)


def document(ranking: Ranking) -> dict[str, Any]:
    """A ranking for scripts."""
    return {
        "suite": ranking.suite,
        "suite_digest": ranking.suite_digest,
        "decoding": dict(ranking.decoding),
        "decoding_digest": ranking.decoding_digest,
        "n": ranking.n,
        "metric": ranking.metric,
        "places": [
            {
                "rank": place.rank,
                "refs": list(place.refs),
                "digest": place.score.digest,
                "base": {"id": place.score.base.id, "fingerprint": place.score.base.fingerprint},
                "at": place.score.at.isoformat(),
                **{key: place.summary[key] for key in ("value", "delta", "ci95", "p")},
                "contaminated": place.seen,
                "clean": place.summary.get("clean"),
                "metrics": {name: one["value"] for name, one in place.score.metrics.items()},
            }
            for place in ranking.places
        ],
    }


def page(found: Sequence[Ranking], *, whole: bool = True) -> str:
    """All rankings on one page that needs nothing else; small ones are closed until asked for."""
    shown, trials = parted(found, whole)
    parts = [_section(ranking) for ranking in shown]
    if trials:
        parts.append(pages.folded(few(trials), "\n".join(_section(ranking) for ranking in trials)))
    return pages.page("Leaderboard", parts)


def _section(ranking: Ranking) -> str:
    metrics = [ranking.metric, *(name for name in ranking.metrics if name != ranking.metric)]
    rows = [
        [", ".join(place.refs), _rank(place), *(_value(place, name) for name in metrics)]
        for place in ranking.places
    ]
    plots = [_plot(ranking, name) for name in metrics]
    main, *others = [plot for plot in plots if plot] or [""]
    parts = [
        pages.table(["adapter", "rank", *metrics], rows, by=2),
        main,
        *([pages.folded("The other metrics", "\n".join(others))] if others else []),
    ]
    return pages.section(
        title(ranking),
        *[part for part in parts if part],
        told=" ".join(
            [f"Ranked by {ranking.metric}.", remark([ranking]), *(f"{line}." for line in trained_on(ranking))]
        ),
    )


def _value(place: Place, name: str) -> str:
    one = place.shown(name)
    return "–" if one is None or not one["measurable"] else figure(one["value"], one["unit"])


def _plot(ranking: Ranking, name: str) -> str:
    """Each adapter's difference to its base with its interval, as a row of a forest plot."""
    told = [(place, place.shown(name)) for place in ranking.places]
    rows = [
        forest.Row(
            ", ".join(place.refs),
            one["delta"],
            tuple(one["ci95"]),
            figure(one["delta"], one["unit"], signed=True),
            may_be_sure=ranking.n >= ENOUGH,
        )
        for place, one in told
        if one is not None and one["ci95"] is not None
    ]
    if not rows:
        return ""
    unit, better = next((one["unit"], one["better"]) for _, one in told if one is not None)
    sense = {"higher": "right of 0 is better", "lower": "left of 0 is better"}.get(better, "")
    return forest.plot(
        f"{name}: difference to the base, 95% interval; {sense}", rows, lambda v: figure(v, unit, signed=True)
    )
