"""Tables that fit: columns that matter less give way, what is to be copied is never cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lftreg.cli.output import clean, wrapped

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from lftreg.plugins.host import Registered

GAP = "  "
NARROWEST = 16  # a column is not cut below this; it goes instead


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    `weight` 0 stays whatever happens; of the others the largest goes first where the terminal is
    too narrow. `cut` allows an ellipsis in place of the end; `wrap` is for prose, in the last column
    only, which takes the room that the others leave.
    """

    title: str
    weight: int = 0
    style: str = ""
    right: bool = False
    cut: bool = False
    wrap: bool = False


def print_table(console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under their titles. Columns without a single value are left out.

    The first column is what a row is about. Where a few rows have a much longer one than the rest,
    it stands on a line of its own there, and the other columns keep their place.
    """
    from rich.cells import cell_len
    from rich.text import Text

    cells = [[clean(cell).replace("\n", " ") for cell in row] for row in rows]
    widths = _natural(columns, cells)
    widths[0] = _first_width([cell_len(row[0]) for row in cells], len(columns[0].title), console.width)
    widths = _fit(columns, widths, console.width)
    for number, row in enumerate([[column.title.upper() for column in columns], *cells]):
        if cell_len(row[0]) > widths[0]:
            console.print(Text(row[0], columns[0].style), soft_wrap=True)
            row = ["", *row[1:]]
        for line in _lines(columns, widths, row, header=number == 0):
            console.print(line, soft_wrap=True)


def _lines(
    columns: Sequence[Column], widths: Mapping[int, int], row: Sequence[str], header: bool
) -> list[Text]:
    """A row as one line, or as several where its last column wraps."""
    from rich.text import Text

    line = Text()
    rest: list[Text] = []
    for index, width in widths.items():
        column = columns[index]
        style = "dim" if header else column.style
        value = row[index]
        if column.wrap:
            value, *more = wrapped(value, width)
            rest = [Text.assemble(" " * line.cell_len, (part, style)) for part in more]
        cell = Text(value, style=style)
        cell.truncate(width, overflow="ellipsis")
        padding = Text(" " * (width - cell.cell_len))
        line.append_text(padding + cell if column.right else cell + padding).append(GAP)
    line.rstrip()
    return [line, *rest] if line else rest


def print_fields(console: Console, fields: Mapping[str, str | None]) -> None:
    """Print names and values, aligned; a value of None or "" is left out. Long values wrap by words."""
    from rich.text import Text

    shown = {name: clean(value) for name, value in fields.items() if value}
    margin = max(map(len, shown), default=0) + len(GAP)
    room = console.width - margin
    for name, value in shown.items():
        lines = [part for line in value.split("\n") for part in wrapped(line, room)]
        text = Text.assemble((f"{name:{margin}}", "dim"), f"\n{'':{margin}}".join(lines))
        console.print(text, soft_wrap=True)


def size(count: int) -> str:
    """A number of bytes for people: 512 B, 1.4 MB."""
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} {unit}" if unit == "B" or value >= 99.95 else f"{value:.1f} {unit}"


def count(number: int) -> str:
    """A number of parameters for people: 950, 12.6 M, 1.2 B."""
    value, unit = float(number), ""
    for larger in (" k", " M", " B"):
        if value < 999.5:
            break
        value, unit = value / 1000, larger
    return f"{value:.0f}{unit}" if not unit or value >= 99.95 else f"{value:.1f}{unit}"


def money(amount: float) -> str:
    """US dollars for people: cents from a cent on, below in two figures, and under $0.0001 as just that."""
    if amount >= 0.01 or amount == 0:
        return f"${amount:,.2f}"
    return f"${amount:.2g}" if amount >= 0.0001 else "under $0.0001"


def ago(at: datetime, now: datetime | None = None) -> str:
    """How long since: 4 min ago, yesterday's as hours, older than a month as a date."""
    seconds = max(0.0, ((now or datetime.now(UTC)) - at).total_seconds())
    for limit, unit, name in ((90, 1, "s"), (5400, 60, "min"), (129600, 3600, "h"), (2592000, 86400, "days")):
        if seconds < limit:
            return "just now" if seconds < 5 else f"{seconds / unit:.0f} {name} ago"
    return at.strftime("%Y-%m-%d")


def short(digest: str) -> str:
    """The first 12 figures of a digest, enough to find it by."""
    return digest.removeprefix("sha256:")[:12]


def source(registered: Registered[Any]) -> str:
    """The package that something came from, where it is not lftreg itself."""
    return "" if registered.distribution.startswith("lftreg ") else registered.distribution


def tag_line(tags: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in sorted(tags.items()))


def _natural(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> dict[int, int]:
    """The width every column would like, by its index; columns that hold nothing are not there."""
    from rich.cells import cell_len

    widths = {}
    for index, column in enumerate(columns):
        longest = max((cell_len(row[index]) for row in rows), default=0)
        if longest or column.weight == 0:
            widths[index] = max(longest, len(column.title))
    return widths


def _first_width(lengths: Sequence[int], title: int, room: int) -> int:
    """The width of the first column: of all its values, or of those that take no more than half."""
    longest = max(lengths, default=0)
    if longest > room // 2:
        longest = max((length for length in lengths if length <= room // 2), default=0)
    return max(longest, title)


def _fit(columns: Sequence[Column], widths: dict[int, int], room: int) -> dict[int, int]:
    """Widths that fit into `room`: what may be cut is cut, then the least important column goes."""
    widths = dict(widths)
    while (excess := sum(widths.values()) + len(GAP) * (len(widths) - 1) - room) > 0:
        give = [i for i in widths if columns[i].cut or columns[i].wrap]
        slack = {i: widths[i] - NARROWEST for i in give if widths[i] > NARROWEST}
        if sum(slack.values()) >= excess:
            for index in sorted(slack, key=lambda i: -columns[i].weight):
                taken = min(excess, slack[index])
                widths[index] -= taken
                excess -= taken
            break
        optional = [i for i in widths if columns[i].weight]
        if not optional:
            break  # nothing may go: the terminal wraps the line, and no name is lost
        del widths[max(optional, key=lambda i: columns[i].weight)]
    return widths
