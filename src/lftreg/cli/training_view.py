"""What a person sees while an adapter is trained: a table that follows the run, or lines in a log."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from lftreg.cli import loss_chart
from lftreg.cli.output import clean
from lftreg.cli.progress import Lines
from lftreg.cli.tables import size

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.live import Live
    from rich.text import Text

    from lftreg.cli.context import Context
    from lftreg.training import Event, Plan, Resumed, Shrunk, Stepped, Stopping, Validated
    from lftreg.training.events import Listener

WIDEST = 100  # columns of the bar
MARGIN = 15  # columns of the names
TABLE_ROWS = 12  # rows that are not the chart's: the table, and what was said before it


@contextmanager
def following(context: Context, plan: Plan) -> Iterator[Listener]:
    """A listener that shows a run: a live table on a terminal, lines elsewhere, nothing for a script."""
    console = context.out.err
    steps = plan.settings.max_steps or 0
    if context.out.quiet or context.out.json:
        yield lambda event: None
    elif not console.file.isatty() or console.is_dumb_terminal:
        yield LinesView(Lines(console, clean(plan.name), steps)).hear
    else:
        view = TableView(clean(plan.name), steps)
        with make_live(console, view):
            yield view.hear
        if view.is_done and loss_chart.fits(console):
            console.print(view.chart(console.width - 1, loss_chart.HIGHEST), soft_wrap=True)


def told(event: Event) -> str | None:
    """The sentence that an event leaves on the screen; None where it is only a figure."""
    from lftreg.training import Compiling, Resumed, Shrunk, Warned

    if isinstance(event, Compiling):
        return "the base's layers are compiled: the first step takes some twenty seconds, the others less"
    if isinstance(event, Shrunk):
        return _shrunk(event)
    if isinstance(event, Resumed):
        return _resumed(event)
    return f"warning: {clean(event.text)}" if isinstance(event, Warned) else None


def _shrunk(event: Shrunk) -> str:
    how = " and gradient checkpointing" if event.checkpointing else ""
    return (
        f"memory ran out at step {event.step}: tried again with {event.rows} rows at once{how}, "
        "the batch stays as it is"
    )


def _resumed(event: Resumed) -> str:
    older = " (the newest checkpoint is damaged, the one before it is used)" if event.fallback else ""
    return f"goes on after step {event.step}{older}"


class LinesView:
    """A run in a log: a line now and then."""

    def __init__(self, lines: Lines, who: str | None = None) -> None:
        """`who` is named before a sentence, where several adapters share a log."""
        self._lines = lines
        self._who = f"{who}: " if who else ""
        self._held_out = ""

    def hear(self, event: Event) -> None:
        from lftreg.training import Stepped, Validated

        if isinstance(event, Stepped):
            speed = event.tokens / max(event.seconds, 1e-9)
            self._lines.update(
                event.step, note=f"loss {event.loss:.3f}{self._held_out}  {speed:,.0f} tokens/s"
            )
        elif isinstance(event, Validated):
            self._held_out = f"  validation {event.loss:.3f}"
        elif (text := told(event)) is not None:
            self._lines.line(self._who + text)


class TableView:
    """A run as it stands: figures, a bar, and a chart where there is room. It is drawn by another thread."""

    def __init__(self, name: str, steps: int) -> None:
        from lftreg.training.losses import RunningMean
        from lftreg.training.speed import Speed

        self.widths: list[int] = []  # of the lines that were drawn last
        self.sentences: deque[str] = deque()  # that are still to be said, above the table
        self._name, self._steps = name, steps
        self._last: Stepped | None = None
        self._mean, self._speed = RunningMean(steps), Speed()
        self._training: list[tuple[int, float]] = []
        self._validations: list[Validated] = []
        self._state = "loading the base, and asking it first"
        self._stopping: Stopping | None = None
        self._drawn: tuple[tuple[int, ...], Text] | None = None

    @property
    def is_done(self) -> bool:
        return bool(self._training) and not self._stopping

    def hear(self, event: Event) -> None:
        """Take in an event. Of a wish to stop, which comes from a signal's handler, only a note is made."""
        from lftreg.training import Stepped, Stopping, Validated

        if isinstance(event, Stepped):
            self._last = event
            self._speed.add(event)
            self._training.append((event.step, self._mean.add(event.loss)))
            self._state = "asking the adapter, and writing it down" if event.step == event.steps else ""
        elif isinstance(event, Validated):
            self._validations.append(event)
            self._state = self._state if self._last else "the first step"
        elif isinstance(event, Stopping):
            self._stopping = event
        elif (text := told(event)) is not None:
            self.sentences.append(text)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width, height = options.max_width - 1, console.height  # a full line would wrap as the window shrinks
        lines = [self._head(width), self._bar(width, console), *self._table(width)]
        if self._validations and loss_chart.fits(console):
            lines += [Text(), *self.chart(width, height - TABLE_ROWS).split("\n")]
        yield from laid_out(self, lines[: height - 1], width)

    def chart(self, width: int, height: int) -> Text:
        """The chart, drawn anew where there is something new to show."""
        key = (len(self._training), len(self._validations), width, height)
        if self._drawn is None or self._drawn[0] != key:
            validations = [(event.step, event.loss) for event in list(self._validations)]
            training = self._training[: key[0]]
            self._drawn = (key, loss_chart.chart(training, validations, self._steps, width, height))
        return self._drawn[1].copy()

    def _head(self, width: int) -> Text:
        """What is trained and how far it is; of a long name the end gives way, and nothing else."""
        from rich.text import Text

        done = self._last.step if self._last else 0
        left = self._left()
        far = f"  {done}/{self._steps}" + (f"  {left} left" if left else "")
        name = Text(self._name, "bold")
        name.truncate(max(8, width - len(far)), overflow="ellipsis")
        return name.append(far, "not bold")

    def _left(self) -> str:
        if self._last is None or not self._speed.steps:
            return ""
        seconds = round((self._steps - self._last.step) / self._speed.steps)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"

    def _bar(self, width: int, console: Console) -> Text:
        from rich.text import Text

        full, empty = ("-", " ") if console.options.ascii_only else ("━", "─")
        width = min(width, WIDEST)
        done = width * (self._last.step if self._last else 0) // max(1, self._steps)
        return Text.assemble((full * done, "green"), (empty * (width - done), "dim"))

    def _table(self, width: int) -> list[Text]:
        from rich.text import Text

        fields = {
            "loss": self._loss(),
            "validation": self._validation(width - MARGIN),
            "accuracy": self._accuracy(),
            "learning rate": f"{self._last.lr:.3g}" if self._last else "",
            "speed": f"{self._speed.tokens:,.0f} tokens/s" if self._speed.tokens else "",
            _memory_name(): size(self._last.memory) if self._last and self._last.memory else "",
        }
        rows = [Text.assemble((f"{name:{MARGIN}}", "dim"), value) for name, value in fields.items() if value]
        if self._stopping:
            again = ", Ctrl-C again to stop at once" if self._stopping.again else ""
            rows.append(Text(f"stopping after this step{again}", "yellow"))
        elif self._state:
            rows.append(Text(self._state, "dim"))
        return rows

    def _loss(self) -> str:
        return f"{self._training[-1][1]:.3f}" if self._training else ""

    def _validation(self, room: int) -> str:
        """Before, last and best, as far as there is room; the best one is what will be kept."""
        if not self._validations:
            return ""
        before, last = self._validations[0], self._validations[-1]
        best = min(self._validations, key=lambda event: event.loss)
        if last is before:
            return f"{before.loss:.3f} before"
        parts = f"{before.loss:.3f} -> {last.loss:.3f}"
        whole = f"{parts}, best {best.loss:.3f}"
        return next((text for text in (f"{whole} at step {best.step}", whole) if len(text) <= room), parts)

    def _accuracy(self) -> str:
        known = [event.accuracy for event in self._validations if event.accuracy is not None]
        return " -> ".join(f"{value:.1%}" for value in dict.fromkeys((known[0], known[-1]))) if known else ""


def _memory_name() -> str:
    """Whose memory it is that a run tells of."""
    import sys

    torch = sys.modules.get("torch")
    return "GPU memory" if torch is not None and torch.cuda.is_available() else "memory"


class Drawn(Protocol):
    """What can be drawn again in place: the widths of its lines, and sentences to be said above them."""

    widths: list[int]
    sentences: deque[str]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult: ...


def laid_out(view: Drawn, lines: Sequence[Text], width: int) -> RenderResult:
    """Lines of a view, none wider than there is room, whose widths it remembers."""
    from rich.segment import Segment

    for text in lines:
        text.truncate(width, overflow="ellipsis")
        text.end = ""
    view.widths = [text.cell_len for text in lines]
    for number, text in enumerate(lines):
        if number:
            yield Segment.line()
        yield text


def make_live(console: Console, view: Drawn) -> Live:
    """A live display that finds its own first line again after the window became narrower.

    Whatever is drawn is drawn by `refresh`, which one thread at a time is in: sentences as well.
    """
    from rich.control import Control
    from rich.live import Live
    from rich.segment import ControlType

    class Rewrapped(Live):
        def refresh(self) -> None:
            # A terminal wraps what is on it: the picture is higher by now than when it was drawn.
            more = sum(max(0, width - 1) // max(1, console.width) for width in view.widths)
            if more:
                console.control(Control(ControlType.CARRIAGE_RETURN, (ControlType.ERASE_IN_LINE, 2)))
            for _ in range(more):
                console.control(Control((ControlType.CURSOR_UP, 1), (ControlType.ERASE_IN_LINE, 2)))
            while view.sentences:
                console.print(view.sentences.popleft(), soft_wrap=True, style="dim")
            super().refresh()

    return Rewrapped(view, console=console, transient=True, refresh_per_second=4)
