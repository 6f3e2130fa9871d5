"""Learning rate and rank against loss as a picture, kept beside the winner of a sweep."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

from lftreg.sweeping.halving import JUDGED
from lftreg.sweeping.space import Choice, Range, Space
from lftreg.sweeping.study import Row

PICTURE = "sweep.png"
QUIET, GRID = "#c9d3de", "#e4e9ef"
COLOURS = ("#0b5cad", "#c2410c", "#15803d", "#7e22ce", "#be123c", "#0e7490", "#a16207", "#475569")


def axes_of(space: Space) -> tuple[str, str | None]:
    """The setting that is drawn across, and the one that tells series apart: learning rate and rank where they are."""
    names = list(space.dimensions)
    numbers = [name for name in names if _is_number(space, name)]
    across = "lr" if "lr" in names else next(iter(numbers), names[0])
    rest = [name for name in names if name != across]
    apart = "rank" if "rank" in rest else next(iter(rest), None)
    return across, apart


def series(rows: Sequence[Row], space: Space) -> dict[str, list[tuple[Any, float, bool]]]:
    """Points by the second setting: the first one's value, the lowest loss, whether the trial learned to its end."""
    across, apart = axes_of(space)
    found: dict[Any, list[tuple[Any, float, bool]]] = {}
    for row in rows:
        if row.loss is not None:
            key = None if apart is None else row.settings[apart]
            found.setdefault(key, []).append((row.settings[across], row.loss, row.end == "finished"))
    ordered = sorted(
        found, key=lambda key: (isinstance(key, str), str(key) if isinstance(key, str) else key or 0)
    )
    return {"" if key is None else f"{apart} {shown(key)}": sorted(found[key], key=_first) for key in ordered}


def shown(value: Any) -> str:
    """A value of a setting, in three figures where it is a number."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def draw(title: str, rows: Sequence[Row], space: Space, unit: str = "token") -> bytes:
    """PNG bytes: a point a trial, filled where it learned to its end. The same trials give the same bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    across, _ = axes_of(space)
    for number, (name, points) in enumerate(series(rows, space).items()):
        colour = COLOURS[number % len(COLOURS)]
        for whole in (True, False):
            some = [(_at(x), loss) for x, loss, finished in points if finished == whole]
            axes.plot(
                [x for x, _ in some], [loss for _, loss in some], linestyle="", marker="o", markersize=7,
                color=colour if whole else "white", markeredgecolor=colour,
                label=(name or "learned to the end") if whole else None,
            )  # fmt: skip
    dimension = space.dimensions[across]
    if isinstance(dimension, Range) and dimension.log:
        axes.set_xscale("log")
    label = "learning rate" if across == "lr" else across.replace("_", " ")
    axes.set(title=title, xlabel=label, ylabel=f"lowest validation loss (nats a {unit})")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False, title=f"hollow: stopped early, on {JUDGED} rows")
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()


def _at(value: Any) -> Any:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else str(value)


def _first(point: tuple[Any, float, bool]) -> tuple[str, Any]:
    value = point[0]
    return (type(value).__name__ if isinstance(value, str) else "", value)


def _is_number(space: Space, name: str) -> bool:
    dimension = space.dimensions[name]
    if isinstance(dimension, Choice):
        return all(
            isinstance(value, int | float) and not isinstance(value, bool) for value in dimension.values
        )
    return True
