"""The kept scores of a version, for `show`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lftreg.cli.eval_view import table
from lftreg.cli.tables import ago, print_table
from lftreg.registry.score_words import decoding, most_telling, remarks, trials

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.registry import Score


def print_scores(console: Console, scores: Sequence[Score], *, whole: bool) -> None:
    """The most telling score, and in a line how many there are beside it; the `whole` of them where asked for."""
    from rich.text import Text

    if not scores:
        return
    large, small = most_telling(scores)
    shown = [*large, *small] if whole else large[:1]
    for score in shown:
        console.print()
        told = f"evaluated on {score.suite}, {ago(score.at)}: {score.n} items, {decoding(score.decoding)}"
        console.print(Text(told, "bold"), soft_wrap=True)
        print_table(console, *table(score.metrics, None, score.ref))
        for line in remarks(score.n, score.metrics, score.facts):
            console.print(Text(line, "dim"), soft_wrap=True)
    if len(shown) < len(scores):
        console.print(Text(_left(len(large) - len(shown), len(small)), "dim"), soft_wrap=True)


def _left(large: int, small: int) -> str:
    """The scores without a table, in words."""
    told = [f"{large} more {'evaluation' if large == 1 else 'evaluations'}"] if large else []
    told += [trials(small)] if small else []
    return f"and {' and '.join(told)}: -v shows them"
