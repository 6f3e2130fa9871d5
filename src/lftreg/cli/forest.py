"""A forest plot in SVG: estimates with their intervals around a line at nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lftreg.cli.pages import text

LINE = 26  # pixels a row
LABEL, PLOT, FIGURES = 300, 460, 220
FOOT = 30
LONGEST = 40  # characters of a label


@dataclass(frozen=True, slots=True)
class Row:
    """An estimate and its interval; `told` is the estimate in words.

    One that may be sure is marked so where its interval does not hold 0; of few items none may.
    """

    name: str
    value: float
    interval: tuple[float, float]
    told: str
    may_be_sure: bool = True


def plot(title: str, rows: Sequence[Row], shown: Callable[[float], str]) -> str:
    """The plot as a part of a page; `shown` writes a value of the axis."""
    ends = [end for row in rows for end in (*row.interval, row.value) if math.isfinite(end)]
    low, high = min(0.0, *ends, 0.0), max(0.0, *ends, 0.0)
    margin = (high - low) * 0.06 or 1.0
    low, high = low - margin, high + margin

    def x(value: float) -> float:
        return LABEL + PLOT * (min(max(value, low), high) - low) / (high - low)

    height = LINE * len(rows) + FOOT
    lines = [_row(row, LINE * at + LINE / 2, x, shown) for at, row in enumerate(rows)]
    ticks = [_tick(value, height - FOOT, x, shown) for value in _ticks(low, high)]
    zero = f'<line class="zero" x1="{x(0):.1f}" x2="{x(0):.1f}" y1="0" y2="{height - FOOT}"/>'
    width = LABEL + PLOT + FIGURES
    return (
        f'<figure class="wide"><figcaption>{text(title)}</figcaption>\n'
        f'<svg class="forest" role="img" aria-label="{text(title)}" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}">\n' + "\n".join([zero, *ticks, *lines]) + "\n</svg></figure>"
    )


def _row(row: Row, y: float, x: Callable[[float], float], shown: Callable[[float], str]) -> str:
    low, high = row.interval
    name = row.name if len(row.name) <= LONGEST else row.name[: LONGEST - 1] + "…"
    sure = "sure" if row.may_be_sure and (low > 0 or high < 0) else "open"
    told = f"{row.told} ({shown(low)} to {shown(high)})"
    return (
        f'<g class="{sure}"><title>{text(row.name)}: {text(told)}</title>'
        f'<text x="{LABEL - 12}" y="{y + 4:.1f}" text-anchor="end">{text(name)}</text>'
        f'<line x1="{x(low):.1f}" x2="{x(high):.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
        f'<rect x="{x(row.value) - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        f'<text x="{LABEL + PLOT + 12}" y="{y + 4:.1f}">{text(told)}</text></g>'
    )


def _tick(value: float, y: int, x: Callable[[float], float], shown: Callable[[float], str]) -> str:
    return (
        f'<line class="tick" x1="{x(value):.1f}" x2="{x(value):.1f}" y1="{y}" y2="{y + 5}"/>'
        f'<text class="tick" x="{x(value):.1f}" y="{y + 18}" text-anchor="middle">{text(shown(value))}</text>'
    )


def _ticks(low: float, high: float) -> list[float]:
    """Round values between the ends, about five."""
    step = 10 ** math.floor(math.log10((high - low) / 4))
    step *= next(factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= 6)
    first = math.ceil(low / step)
    return [number * step for number in range(first, math.floor(high / step) + 1)]
