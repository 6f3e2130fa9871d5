"""The losses of a run as a small chart in the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console
    from rich.text import Text

    from lftreg.registry import Registry, Version
    from lftreg.training.losses import Losses

FEWEST_COLUMNS, FEWEST_ROWS = 60, 20  # of a terminal, below which there is no chart
WIDEST, NARROWEST = 100, 20  # columns of the chart itself
HIGHEST, LOWEST = 14, 6  # and its rows
TRAINING, VALIDATION = "cyan", "magenta"  # the same words to rich and to plotext
POINT = "●"
PICTURES = ("loss.png", "composition.png")
Points = Sequence[tuple[int, float]]


def fits(console: Console) -> bool:
    """Whether a terminal has the room and the characters of a chart."""
    width, height = console.size
    return width >= FEWEST_COLUMNS and height >= FEWEST_ROWS and not console.options.ascii_only


def chart(training: Points, validation: Points, steps: int, width: int, height: int) -> Text:
    """Training loss, as a running mean, and validation losses, by step; a line below says which is which."""
    from rich.text import Text

    legend = Text.assemble(
        ("⠒⠒", TRAINING), " training, running mean   ", (POINT, VALIDATION), " validation", style="dim"
    )
    if not training and not validation:
        return legend
    drawn = _drawn(training, validation, steps, min(width, WIDEST), min(max(height - 1, LOWEST), HIGHEST))
    lines = [Text.from_ansi(line) for line in drawn.rstrip("\n").split("\n")]
    for line in [*lines, legend]:
        line.no_wrap = True
        line.rstrip()
    return Text("\n", no_wrap=True, overflow="crop").join([*lines, legend])


def blank(width: int, height: int) -> Any:
    """plotext's one figure with two axes and nothing on it, of so many columns and lines."""
    import plotext

    figure = plotext.figure
    plotext.terminal.limit(False, False)  # how large it may be was decided already
    figure.clear()
    figure.theme("colorless")
    figure.canvas("default")
    figure.axes(False, axis="x", side="upper")
    figure.axes(False, axis="y", side="right")
    figure.plot_size(width, height)
    return figure


def _drawn(training: Points, validation: Points, steps: int, width: int, height: int) -> str:
    import plotext

    figure = blank(width, height)
    if training:
        line = figure.signal(
            *_columns(_thinned(training, 4 * width)), marker=plotext.marker("braille", TRAINING)
        )
        figure.draw(line.lines())
    if validation:
        figure.draw(figure.signal(*_columns(validation), marker=plotext.marker(POINT, VALIDATION)))
    highest = max(loss for _, loss in [*training, *validation])
    ticks = _ticks(steps)
    figure.ruler("x").lim(0, steps)
    figure.ruler("x").ticks(ticks, [f"{tick:,}" for tick in ticks])
    figure.ruler("y").lim(0, highest or 1.0)
    return str(figure.build().string())


def _ticks(steps: int) -> list[int]:
    """Up to seven round numbers of steps."""
    every = next(
        every
        for power in range(12)
        for every in (10**power, 2 * 10**power, 5 * 10**power)
        if 6 * every >= steps
    )
    return list(range(0, steps + 1, every))


def _columns(points: Points) -> tuple[list[int], list[float]]:
    return [step for step, _ in points], [loss for _, loss in points]


def _thinned(points: Points, most: int) -> Points:
    """Not more points than a chart can show, the last one among them."""
    every = -(-len(points) // most)
    return points if every <= 1 else [*points[:-1:every], points[-1]]


def print_chart(console: Console, losses: Losses) -> None:
    """The whole chart, as wide as the terminal; 80 columns in a pipe."""
    from lftreg.training.losses import running_mean

    width = max(console.width - 1, NARROWEST) if console.is_terminal else 80
    means = running_mean([step.loss for step in losses.steps])
    training = [(step.step, mean) for step, mean in zip(losses.steps, means, strict=True)]
    validation = [(event.step, event.loss) for event in losses.validations]
    steps = losses.steps[-1].step if losses.steps else 1
    console.print(chart(training, validation, steps, width, HIGHEST), soft_wrap=True)


def save_picture(version: Version, registry: Registry, place: Path) -> Path:
    """Write the picture of a version to a file. Raises NotFound where it has none, UsageError where one is there."""
    from lftreg.outputs import whole_output

    name = next((file.name for file in version.files if file.name in PICTURES), None)
    if name is None:
        raise NotFound(
            f"{version.ref} has no picture", "trained and composed versions have", code="no-picture"
        )
    with whole_output(place, "file") as scratch:
        scratch.write_bytes(registry.read(version, name))
    return place
