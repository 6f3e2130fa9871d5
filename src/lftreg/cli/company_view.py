"""What a person sees while several adapters are trained: a line for each, or lines in a log."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from lftreg.cli.output import clean
from lftreg.cli.progress import Lines
from lftreg.cli.training_view import LinesView, following, laid_out, make_live, told
from lftreg.errors import LftregError

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult
    from rich.text import Text

    from lftreg.cli.context import Context
    from lftreg.registry import Version
    from lftreg.training import Event, Plan, Stepped, Stopping, Validated
    from lftreg.training.events import Listener

    Ended = Callable[[Version | LftregError], None]

BAR = 20  # columns
LONGEST = 24  # columns of a name


@contextmanager
def following_all(context: Context, plans: Sequence[Plan]) -> Iterator[list[tuple[Listener, Ended]]]:
    """For each plan who hears of its run, and of its end."""
    console = context.out.err
    if len(plans) == 1:
        with following(context, plans[0]) as listen:
            yield [(listen, lambda end: None)]
    elif context.out.quiet or context.out.json:
        yield [(lambda event: None, lambda end: None) for _ in plans]
    elif not console.file.isatty() or console.is_dumb_terminal:
        yield [_in_lines(console, plan) for plan in plans]
    else:
        view = CompanyView([(clean(plan.name), plan.settings.max_steps or 0) for plan in plans])
        with make_live(console, view):
            yield [(partial(view.hear, at), partial(view.end, at)) for at in range(len(plans))]


def _in_lines(console: Console, plan: Plan) -> tuple[Listener, Ended]:
    lines = Lines(console, clean(plan.name), plan.settings.max_steps or 0)

    def ended(end: Version | LftregError) -> None:
        lines.line(f"{clean(plan.name)}: {clean(_end(end))}")

    return LinesView(lines, clean(plan.name)).hear, ended


def _end(end: Version | LftregError) -> str:
    return f"{end.code}: {end.message}" if isinstance(end, LftregError) else f"registered as {end.ref}"


class _Row:
    """One adapter as it stands."""

    def __init__(self, name: str, steps: int) -> None:
        from lftreg.training.losses import RunningMean

        self.name, self.steps, self.step = name, steps, 0
        self.tokens, self.seconds = 0, 0.0
        self.loss: float | None = None
        self.validations: list[float] = []
        self.over = ""
        self.failed = False
        self._mean = RunningMean(steps)

    def stepped(self, event: Stepped) -> None:
        self.step, self.tokens, self.seconds = event.step, event.tokens, event.seconds
        self.loss = self._mean.add(event.loss)

    def validated(self, event: Validated) -> None:
        self.validations.append(event.loss)

    @property
    def figures(self) -> str:
        if self.over:
            return self.over
        if not self.validations:
            return "waiting"
        first, best = self.validations[0], min(self.validations)
        held_out = f"validation {first:.3f}" + (f" -> {best:.3f}" if len(self.validations) > 1 else " before")
        return held_out if self.loss is None else f"loss {self.loss:.3f}  {held_out}"


class CompanyView:
    """All adapters, a line each. It is drawn by another thread."""

    def __init__(self, adapters: Sequence[tuple[str, int]]) -> None:
        self.widths: list[int] = []  # of the lines that were drawn last
        self.sentences: deque[str] = deque()  # that are still to be said, above the lines
        self._rows = [_Row(name, steps) for name, steps in adapters]
        self._stopping: Stopping | None = None

    def hear(self, at: int, event: Event) -> None:
        """Take in an event. Of a wish to stop, which comes from a signal's handler, only a note is made."""
        from lftreg.training import Stepped, Stopping, Validated

        if isinstance(event, Stepped):
            self._rows[at].stepped(event)
        elif isinstance(event, Validated):
            self._rows[at].validated(event)
        elif isinstance(event, Stopping):
            self._stopping = event
        elif (text := told(event)) is not None:
            self.sentences.append(f"{self._rows[at].name}: {text}")

    def end(self, at: int, end: Version | LftregError) -> None:
        row = self._rows[at]
        row.over, row.failed = clean(_end(end)), isinstance(end, LftregError)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.text import Text

        width, height = options.max_width - 1, console.height
        room = max(2, height - 3)
        shown = sorted(self._rows, key=lambda row: bool(row.over)) if len(self._rows) > room else self._rows
        lines = [self._head(), *(self._line(row, console) for row in shown[:room])]
        if len(shown) > room:
            lines.append(Text(f"and {len(shown) - room} more", "dim"))
        if self._stopping:
            again = ", Ctrl-C again to stop at once" if self._stopping.again else ""
            lines.append(Text(f"stopping after this step{again}", "yellow"))
        yield from laid_out(self, lines, width)

    def _head(self) -> Text:
        from rich.text import Text

        under_way = sum(not row.over for row in self._rows)
        seconds = max((row.seconds for row in self._rows), default=0.0)
        tokens = sum(row.tokens for row in self._rows)
        speed = (
            f"  {tokens / seconds:,.0f} tokens/s" if seconds else "  loading the base, and asking it first"
        )
        return Text.assemble((f"{len(self._rows)} adapters, {under_way} under way", "bold"), speed)

    def _line(self, row: _Row, console: Console) -> Text:
        from rich.text import Text

        names = min(LONGEST, max(len(one.name) for one in self._rows))
        full, empty = ("-", " ") if console.options.ascii_only else ("━", "─")
        done = BAR * row.step // max(1, row.steps)
        name = Text(f"{row.name:{names}}  ")
        name.truncate(names + 2, overflow="ellipsis")
        counted = f"  {row.step:>{len(str(row.steps))}}/{row.steps}  "
        style = "red" if row.failed else "dim" if row.over else ""
        return Text.assemble(
            name, (full * done, "green"), (empty * (BAR - done), "dim"), counted, (row.figures, style)
        )
