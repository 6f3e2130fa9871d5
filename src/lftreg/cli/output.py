"""Everything that lftreg prints. Data goes to stdout, everything else to stderr."""

from __future__ import annotations

import json as json_module
import math
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any, TextIO

from lftreg.errors import LftregError, UsageError
from lftreg.scrub import scrub

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.cli.progress import Progress

# Whatever a name, a tag or a stranger's config holds, it must not steer the terminal.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")


class Output:
    """Where a command speaks. Under `json` stdout is one document and stderr at most one error."""

    def __init__(
        self,
        *,
        json: bool = False,
        quiet: bool = False,
        verbose: bool = False,
        yes: bool = False,
        ask: bool = True,
    ) -> None:
        self.json = json
        self.quiet = quiet
        self.verbose = verbose
        self._yes = yes
        self._ask = ask
        self._held: list[str] = []
        self._next: str | None = None

    @cached_property
    def console(self) -> Console:
        """Standard output. Never wraps in a pipe, never reads markup from data."""
        return _console(sys.stdout)

    @cached_property
    def err(self) -> Console:
        return _console(sys.stderr)

    @property
    def interactive(self) -> bool:
        """Whether a person sees the output and may be told more than the data."""
        return sys.stdout.isatty() and sys.stderr.isatty() and not self.json and not self.quiet

    def result(
        self, document: Any, render: Callable[[Console], None], *, bare: Sequence[str] | None = None
    ) -> None:
        """The outcome of a command: `document` for scripts, `render` for people, and `bare`, one a line, for those
        who asked for nothing but the data. Call it once.
        """
        if self.json:
            self._document(document, sys.stdout)
        elif self.quiet and bare is not None:
            self.lines(bare)
        else:
            render(self.console)

    def lines(self, values: Sequence[str]) -> None:
        """Bare values, one a line: what `-q` leaves of a list."""
        for value in values:
            print(clean(value))

    def raw(self, text: str) -> None:
        """Text as it is, such as a script for a shell."""
        sys.stdout.write(text)

    def note(self, text: str) -> None:
        """Something good to know, on stderr. Left out by `-q` and `--json`."""
        if not self.quiet and not self.json:
            self._say(text, "dim")

    def detail(self, text: str) -> None:
        """Something that only `-v` asks for."""
        if self.verbose and not self.json:
            self._say(text, "dim")

    def warn(self, text: str, run: str | None = None) -> None:
        """Something that went wrong without stopping the command; `run` is what to type about it.

        Under `--json` it waits for the end: of a success it is a line on stderr, of a failure a
        part of the error's document.
        """
        if self.json:
            self._held.append(clean(text))
            return
        self._labelled("warning", text, "yellow")
        if run is not None:
            self._labelled("    run", run, "dim", wrap=False)

    def next(self, command: str) -> None:
        """What to type next; the last line of a success on a terminal."""
        self._next = command

    def more(self, command: str) -> None:
        """What to type for the rest, on stderr. Left out by `-q` and `--json`."""
        if not self.quiet and not self.json:
            self._labelled("next", command, "dim", wrap=False)

    def error(self, error: LftregError) -> None:
        """The one error that ends a command, without any token that it may quote."""
        message, hint = scrub(error.message), error.hint and scrub(error.hint)
        if self.json:
            document: dict[str, Any] = {"error": {"code": error.code, "message": message, "hint": hint}}
            if self._held:
                document["warnings"] = self._held
            self._document(document, sys.stderr)
            return
        self._labelled("error", message, "bold red")
        if hint:
            self._labelled(" hint", hint, "dim")

    def confirm(self, question: str, *, otherwise: bool | None = None) -> bool:
        """Ask a question whose answer is yes or no.

        `otherwise` is the answer where nobody can be asked; without one, UsageError is raised
        there. `--yes` answers yes.
        """
        if self._yes:
            return True
        if not self.can_ask:
            if otherwise is not None:
                return otherwise
            raise UsageError(f"{question} Nobody is here to answer", "--yes answers yes", code="needs-yes")
        sys.stderr.write(f"{clean(question)} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    @property
    def can_ask(self) -> bool:
        """Whether somebody is there to answer."""
        return self._ask and sys.stdin.isatty() and sys.stderr.isatty()

    def ask(self, question: str, *, fresh: bool = False) -> str:
        """What is typed behind a question. Ask where `can_ask`; EOFError where nothing more will come.

        A `fresh` answer was typed after the question was asked: what waits at the terminal is forgotten.
        """
        if fresh:
            _forget_typed()
        sys.stderr.write(clean(question) + " ")
        sys.stderr.flush()
        line = sys.stdin.readline()
        if not line:
            raise EOFError
        return line.strip()

    @contextmanager
    def progress(self, title: str, total: int | None = None) -> Iterator[Progress]:
        """A bar on a terminal, a line now and then elsewhere, nothing under `-q` or `--json`."""
        from lftreg.cli.progress import make_progress

        silent = self.quiet or (self.json and not sys.stderr.isatty())
        with make_progress(None if silent else self.err, clean(title), total) as progress:
            yield progress

    def finish(self) -> None:
        """End a success: what waited is said, and a full disk or a closed pipe is noticed here."""
        for text in self._held:
            self._labelled("warning", text, "yellow")
        if self._next is not None and self.interactive:
            self._labelled("next", self._next, "dim", wrap=False)
        self.flush()

    def flush(self) -> None:
        """Push everything out."""
        sys.stdout.flush()
        sys.stderr.flush()

    def _document(self, document: Any, stream: TextIO) -> None:
        utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
        text = json_module.dumps(_finite(document), indent=2, ensure_ascii=not utf8, allow_nan=False)
        # JSON escapes what is below a space only; all that it leaves of these stands within its strings.
        text = _CONTROL.sub(lambda match: f"\\u{ord(match.group()):04x}", text)
        stream.write(text + "\n")

    def _say(self, text: str, style: str) -> None:
        from rich.text import Text

        lines = [part for line in clean(text).split("\n") for part in wrapped(line, self.err.width)]
        self.err.print(Text("\n".join(lines), style), soft_wrap=True)

    def _labelled(self, label: str, text: str, style: str, *, wrap: bool = True) -> None:
        """A sentence behind its label, wrapped between words; what is to be copied is never wrapped."""
        from rich.text import Text

        margin = len(label) + 2
        lines = [clean(text)]
        if wrap:
            lines = [part for line in lines[0].split("\n") for part in wrapped(line, self.err.width - margin)]
        body = f"\n{'':{margin}}".join(lines)
        self.err.print(Text.assemble((f"{label}:", style), " ", body), soft_wrap=True)


def clean(text: str) -> str:
    """Text with control characters made visible, so that it can only be read."""
    return _CONTROL.sub(lambda match: match.group().encode("unicode_escape").decode(), text)


def wrapped(text: str, room: int) -> list[str]:
    """Text in lines of at most `room`, broken between words only; at least one line."""
    import textwrap

    if len(text) <= room:
        return [text]  # as it is, indentation and all
    return textwrap.wrap(text, max(room, 24), break_long_words=False, break_on_hyphens=False) or [""]


def _console(stream: TextIO) -> Console:
    from rich.console import Console

    # Rich takes 80 columns for a pipe; a pipe has no columns, and cut data is lost data.
    width = _plain_width(stream) if stream.isatty() else 10_000
    height = 25 if width is not None else None  # without it Rich does not take a terminal's width from us
    return Console(file=stream, width=width, height=height, highlight=False, markup=False, emoji=False)


def _plain_width(stream: TextIO) -> int | None:
    """The columns of a terminal without colours or cursor, for which Rich takes 80; None where Rich finds out."""
    if os.environ.get("TERM", "").lower() not in ("dumb", "unknown") or os.environ.get("COLUMNS"):
        return None
    try:
        return os.get_terminal_size(stream.fileno()).columns or None
    except (OSError, ValueError):
        return None


def _forget_typed() -> None:
    """Drop what was typed at the terminal and not read yet. Elsewhere nothing happens."""
    try:
        import termios
    except ImportError:  # Windows
        return
    with suppress(OSError, ValueError, termios.error):
        termios.tcflush(sys.stdin, termios.TCIFLUSH)


def _finite(value: Any) -> Any:
    """JSON has no word for what is not a number: null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return value
