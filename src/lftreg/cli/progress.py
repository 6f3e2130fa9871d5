"""How far a long command has come: a bar for a person, lines for a log, nothing for a script."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console

SHORT = 1.0  # seconds, in which nobody wants to read lines
LINE_EVERY = 15.0  # seconds between lines of a log, unless a tenth of the work is done sooner


class Progress(Protocol):
    """What a command tells its progress to."""

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        """So many of `total` are done; `note` is the latest figure, such as a loss."""

    def name(self, title: str) -> None:
        """What is done from now on, and counted from 0."""

    def line(self, text: str) -> None:
        """Something that stays on the screen, above the bar."""


@contextmanager
def make_progress(console: Console | None, title: str, total: int | None) -> Iterator[Progress]:
    """The progress that fits a console: a live bar, lines, or silence where there is none."""
    if console is None:
        yield Silent()
    elif not console.is_terminal:
        yield Lines(console, title, total)
    else:
        bar = Bar(console, title, total)
        with bar.live:
            yield bar


class Silent:
    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        pass

    def name(self, title: str) -> None:
        pass

    def line(self, text: str) -> None:
        pass


class Lines:
    """A line for every tenth of the work that takes its time, and for every quarter of a minute."""

    def __init__(self, console: Console, title: str, total: int | None) -> None:
        self._console = console
        self._title = title
        self._total = total
        self._tenth = 0
        self._said = time.monotonic()

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        self._total = total or self._total
        tenth = 10 * done // self._total if self._total else 0
        waited = time.monotonic() - self._said
        if waited < (SHORT if tenth != self._tenth else LINE_EVERY):
            return
        self._tenth, self._said = tenth, time.monotonic()
        of = f"/{self._total}" if self._total else ""
        self.line(f"{self._title} {done}{of} {note}".rstrip())

    def name(self, title: str) -> None:
        if title != self._title:
            self._title, self._tenth = title, 0

    def line(self, text: str) -> None:
        self._console.print(text, soft_wrap=True)


class Bar:
    """A bar that is redrawn in place and wiped at the end."""

    def __init__(self, console: Console, title: str, total: int | None) -> None:
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            ProgressColumn,
            Task,
            TextColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as RichProgress
        from rich.table import Column
        from rich.text import Text

        class Note(ProgressColumn):
            """The one column that gives way on a narrow terminal."""

            def render(self, task: Task) -> Text:
                return Text(task.fields["note"], no_wrap=True, overflow="ellipsis")

        whole = Column(no_wrap=True)
        self.live = RichProgress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24 if console.width >= 100 else 10, table_column=whole),
            MofNCompleteColumn(table_column=whole),
            Note(),
            TimeRemainingColumn(compact=True, elapsed_when_finished=True, table_column=whole),
            console=console,
            transient=True,
        )
        self._task = self.live.add_task(title, total=total, note="")

    def update(self, done: int, total: int | None = None, note: str = "") -> None:
        if total is not None:
            self.live.update(self._task, total=total)
        self.live.update(self._task, completed=done, note=note)

    def name(self, title: str) -> None:
        self.live.update(self._task, description=title)

    def line(self, text: str) -> None:
        self.live.console.print(text, soft_wrap=True)
