"""What a person sees of a sweep: a line a trial, a chart of what was tried, and the best three."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lftreg.cli import loss_chart, training_view
from lftreg.cli.output import clean
from lftreg.cli.tables import Column, print_table

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lftreg.cli.context import Context
    from lftreg.cli.progress import Progress
    from lftreg.sweeping import Swept
    from lftreg.sweeping.events import Event, Listener
    from lftreg.sweeping.study import Row
    from lftreg.training import Plan

MARKS = "●▲■◆○△□◇"
COLOURS = ("cyan", "magenta", "green", "yellow", "blue", "red", "white", "gray")
BEST = 5  # rows of the table that people see


@contextmanager
def following(context: Context) -> Iterator[Listener]:
    """A listener that shows a sweep: a bar with lines above it on a terminal, lines elsewhere."""
    with context.out.progress("sweep") as progress:
        yield View(progress).hear


class View:
    """A sweep in lines, and how many trials have ended."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._done, self._trials, self._steps = 0, 0, 0
        self._best: float | None = None
        self._waiting: int | None = None
        self._stopping = False

    def hear(self, event: Event) -> None:
        from lftreg.sweeping import events

        if isinstance(event, events.Stopping):  # of what comes from a signal's handler only a note is made
            self._stopping = True
            return
        if isinstance(event, events.Stepped):
            self._steps += 1
        elif isinstance(event, events.Began):
            self._done, self._trials = event.done, event.trials
        elif isinstance(event, events.Ended):
            self._done, self._trials = event.done, event.trials
            if event.row.loss is not None and event.row.end == "finished":
                self._best = min(event.row.loss, self._best or event.row.loss)
        said = self._said(event)
        if said is not None:
            self._progress.line(said)
        self._progress.update(self._done, self._trials or None, self._note())

    def _note(self) -> str:
        if self._stopping:
            return "stopping after this step, Ctrl-C again to stop at once"
        best = "" if self._best is None else f"best {self._best:.3f}, "
        return f"{best}{self._steps:,} steps"

    def _said(self, event: Event) -> str | None:
        """The line that an event leaves; None where it is only a figure."""
        from lftreg.sweeping import events

        if isinstance(event, events.Planned):
            return planned(event.plan)
        if isinstance(event, events.Began):
            again = f"; {event.again} that were killed begin anew" if event.again else ""
            return f"study {event.study}: {event.done} of {event.trials} trials are there{again}"
        if isinstance(event, events.Halved):
            return f"at {event.percent} % of the steps {event.kept} of {event.came} go on"
        if isinstance(event, events.Ended):
            return f"trial {event.row.number}: {clean(told(event.row))}"
        if isinstance(event, events.Confirming):
            return f"confirming trial {event.number} alone, {event.place} of {event.finalists}"
        if isinstance(event, events.Tested):
            return f"trial {event.number}: {clean(event.why or '') or f'test loss {event.test:.3f}'}"
        if isinstance(event, events.Warned):
            return training_view.told(event)
        if isinstance(event, events.OutOfTime):
            return f"the budget is spent after {event.done} of {event.trials} trials"
        if isinstance(event, events.Waiting) and event.others != self._waiting:
            self._waiting = event.others
            what = f"at {event.others} trials" if event.others else "at the confirmation"
            return f"waiting for other processes {what}"
        return None


def planned(plan: Plan) -> str:
    """What all trials have in common, and the rows that take no part."""
    rows, settings = plan.examples, plan.settings
    line = (
        f"{clean(plan.name)}: {rows['train']} rows, {settings.max_steps} steps of "
        f"{settings.batch_size * settings.accumulate}, on {plan.base.record.id}"
    )
    if plan.left_out:
        line += f"\nwarning: {plan.left_out} rows are too long and left out; --max-length keeps longer ones"
    return line


def told(row: Row) -> str:
    """A trial in a line."""
    loss = "" if row.loss is None else f": {row.loss:.3f}"
    end = "" if row.end == "finished" else f" ({row.why or row.end})"
    return f"{settings(row.settings)}{loss}{end}"


def settings(tried: Mapping[str, Any]) -> str:
    from lftreg.sweeping.chart import shown

    return ", ".join(f"{name} {shown(value)}" for name, value in tried.items())


def print_sweep(console: Console, swept: Swept, terminal: bool) -> None:
    """The chart, where there is a terminal for it, and the trials that came furthest down."""
    if terminal and loss_chart.fits(console):
        console.print(chart(swept, console.width - 1, loss_chart.HIGHEST), soft_wrap=True)
        console.print()
    tested = {one["trial"]: one["test"] for one in swept.winner["confirmed"]}
    rows = sorted(swept.rows, key=lambda row: (row.number not in tested, row.end != "finished", _loss(row)))
    names = list(swept.space.dimensions)
    columns = [Column("trial", right=True), *(Column(name.replace("_", " "), right=True) for name in names)]
    columns += [
        Column("validation", right=True),
        Column("test", right=True),
        Column("steps", weight=1, right=True),
    ]
    print_table(console, columns, [_cells(row, names, tested) for row in rows[:BEST]])


def _cells(row: Row, names: Sequence[str], tested: Mapping[int, float]) -> list[str]:
    from lftreg.sweeping.chart import shown

    test = f"{tested[row.number]:.3f}" if row.number in tested else ""
    loss = "" if row.loss is None else f"{row.loss:.3f}"
    return [str(row.number), *(shown(row.settings[name]) for name in names), loss, test, f"{row.percent} %"]


def _loss(row: Row) -> float:
    return float("inf") if row.loss is None else row.loss


def chart(swept: Swept, width: int, height: int) -> Text:
    """Learning rate across, loss up, a mark for each rank; a line below says which is which."""
    from rich.text import Text

    from lftreg.sweeping.chart import axes_of, series

    found = series(swept.rows, swept.space)
    across, _ = axes_of(swept.space)
    legend = Text(style="dim")
    for number, name in enumerate(found):
        legend.append(MARKS[number % len(MARKS)], COLOURS[number % len(COLOURS)]).append(
            f" {name or across}   "
        )
    legend.append(
        f"lowest validation loss by {'learning rate' if across == 'lr' else across.replace('_', ' ')}"
    )
    if not found:
        return Text("no trial came to a loss", style="dim")
    drawn = _drawn(swept, found, min(width, loss_chart.WIDEST), height)
    lines = [Text.from_ansi(line) for line in drawn.rstrip("\n").split("\n")]
    for line in lines:
        line.rstrip()
    return Text("\n", no_wrap=True, overflow="crop").join([*lines, legend])


def _drawn(
    swept: Swept, found: Mapping[str, Sequence[tuple[Any, float, bool]]], width: int, height: int
) -> str:
    import math

    import plotext

    from lftreg.sweeping.chart import axes_of, shown
    from lftreg.sweeping.space import Range

    across, _ = axes_of(swept.space)
    dimension = swept.space.dimensions[across]
    values = sorted({x for points in found.values() for x, _, _ in points}, key=lambda x: (str(type(x)), x))
    if isinstance(dimension, Range):
        scale = math.log10 if dimension.log else float
        place = {value: scale(value) for value in values}
        inner = [dimension.low + (dimension.high - dimension.low) * at / 4 for at in range(5)]
        if dimension.log:
            inner = [dimension.low * (dimension.high / dimension.low) ** (at / 4) for at in range(5)]
        ticks = [(scale(value), shown(float(value))) for value in inner]
        low, high = scale(dimension.low), scale(dimension.high)
    else:
        place = {value: float(number) for number, value in enumerate(values)}
        ticks = [(float(number), shown(value)) for number, value in enumerate(values)]
        low, high = -0.5, len(values) - 0.5
    figure = loss_chart.blank(width, height)
    for number, points in enumerate(found.values()):
        mark = plotext.marker(MARKS[number % len(MARKS)], COLOURS[number % len(COLOURS)])
        xs, ys = [place[x] for x, _, _ in points], [loss for _, loss, _ in points]
        figure.draw(figure.signal(xs, ys, marker=mark))
    losses = [loss for points in found.values() for _, loss, _ in points]
    room = (max(losses) - min(losses)) * 0.1 or 0.1
    figure.ruler("x").lim(low, high)
    figure.ruler("x").ticks([at for at, _ in ticks], [name for _, name in ticks])
    figure.ruler("y").lim(min(losses) - room, max(losses) + room)
    return str(figure.build().string())
