"""A report as a picture, stored beside the composition: a heatmap each of cosine, conflict and error.

Drawn with Pillow, which is there in 20 ms; matplotlib takes longer than most compositions.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from lftreg.composer.places import Places, mean, places, root
from lftreg.composer.report import Layer, Report

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw
    from PIL.ImageFont import FreeTypeFont

PICTURE = "composition.png"
INK, QUIET, LINE, EMPTY = "#1d2b3a", "#5b6c7d", "#d9e0e8", "#eef1f5"
Colour = tuple[int, int, int]
Stops = Sequence[tuple[float, Colour]]
# From one end of a scale to the other; told apart with any sort of eyes, and by their lightness alone.
DIVERGING: Stops = ((0, (176, 78, 18)), (0.5, (250, 250, 248)), (1, (11, 92, 173)))
RISING: Stops = ((0, (250, 250, 248)), (0.5, (226, 146, 110)), (1, (122, 24, 42)))
PAD, GAP = 24, 28  # around the picture, and between its parts, in pixels
TALLEST = 900  # of a heatmap, in pixels, where its rows can be read at all
NUMBERS_UP_TO = 280  # cells of the picture in which their number is written, too


@dataclass(frozen=True, slots=True)
class Panel:
    """A heatmap: its name, its figure at every place, and the scale they are shown on."""

    title: str
    cells: Mapping[tuple[int, int | None], float]
    low: float
    high: float
    stops: Stops

    def colour(self, value: float) -> Colour:
        return blend(self.stops, (value - self.low) / (self.high - self.low))


def draw(report: Report) -> bytes:
    """PNG bytes. Equal reports give equal bytes; a panel that has nothing to show is left out."""
    from PIL import Image, ImageDraw, ImageFont

    grid = places(layer.path for layer in report.layers)
    shown = panels(report, grid)
    small, large = (_font(ImageFont.load_default, size) for size in (12, 17))
    layout = _Layout.of(grid, shown, small)
    text = _heading(report, layout.width, small)
    head = PAD + 28 + 17 * len(text) + GAP
    energy = 92 if report.energy else 0
    height = head + layout.height + (GAP + energy if energy else 0) + PAD
    image = Image.new("RGB", (layout.width, height), "white")
    pen = ImageDraw.Draw(image)
    pen.text((PAD, PAD - 4), _title(report), INK, large)
    for at, line in enumerate(text):
        pen.text((PAD, PAD + 24 + 17 * at), line, QUIET, small)
    for at, panel in enumerate(shown):
        _panel(pen, grid, panel, layout, (layout.left(at), head), small, numbered=not at)
    if energy:
        _energy(pen, report.energy, (PAD, height - PAD - energy), layout.width - 2 * PAD, small)
    picture = io.BytesIO()
    image.save(picture, "png", compress_level=3)
    return picture.getvalue()


def panels(report: Report, grid: Places) -> list[Panel]:
    """The heatmaps that have something to show, every place with the figure of its layers."""
    by_path = {layer.path: layer for layer in report.layers}
    cells = {place: [by_path[path] for path in paths] for place, paths in grid.cells().items()}

    def every(figure: Callable[[list[Layer]], float | None]) -> dict[tuple[int, int | None], float]:
        found = {place: figure(layers) for place, layers in cells.items()}
        return {place: value for place, value in found.items() if value is not None}

    cosines = every(lambda layers: mean(layer.cosine for layer in layers))
    conflicts = every(lambda layers: mean(layer.conflict for layer in layers))
    errors = every(error_of)
    found = [
        Panel("cosine of the parents", cosines, -1, 1, DIVERGING),
        Panel("sign conflict", conflicts, 0, 1, RISING),
        Panel("error", errors, 0, scale_end(max(errors.values(), default=0)), RISING),
    ]
    return [panel for panel in found if panel.cells]


def error_of(layers: Sequence[Layer]) -> float | None:
    """The error of some layers together, relative to their sum; None where that is zero."""
    known = [layer for layer in layers if layer.error is not None]
    if known and not any(layer.norm for layer in known):
        return 0.0
    return root(((layer.error or 0) ** 2 * layer.norm**2 for layer in known), (x.norm**2 for x in known))


def blend(stops: Stops, share: float) -> Colour:
    """The colour at a share of the way through some stops."""
    share = min(1.0, max(0.0, share))
    for (low, left), (high, right) in pairwise(stops):
        if share <= high:
            part = (share - low) / (high - low)
            red, green, blue = (round(x + part * (y - x)) for x, y in zip(left, right, strict=True))
            return red, green, blue
    return stops[-1][1]


def number(value: float) -> str:
    """A figure in at most five characters, or six with its sign."""
    if value == 0 or abs(value) >= 0.0995:
        return f"{value:.2f}"
    return f"{value:.3f}" if abs(value) >= 0.00095 else f"{value:.0e}".replace("e-0", "e-")


def scale_end(value: float) -> float:
    """The end of a scale for errors up to this: a round number, and 1 % at least; less is worth no colour."""
    value = max(value, 0.01)
    step = 10.0 ** math.floor(math.log10(value))
    return next(round(step * n, 12) for n in (1, 2, 5, 10) if step * n >= value * (1 - 1e-9))


@dataclass(frozen=True, slots=True)
class _Layout:
    """Sizes in pixels: of a cell, of the names of rows beside the first heatmap, of the names above each."""

    cell: tuple[int, int]
    names: int
    above: int
    turned: bool
    every: int  # of how many rows one has its name
    across: int  # of a heatmap
    panels: int
    tops: tuple[int, ...]  # where every row begins, and where the last one ends
    numbers: bool

    @classmethod
    def of(cls, grid: Places, shown: Sequence[Panel], font: FreeTypeFont) -> _Layout:
        wide = max((_width(font, name) for name in grid.columns), default=0)
        columns = max(1, len(grid.columns))
        turned = wide > 78 or (wide + 10) * columns > 640
        across = 24 if turned else max(wide + 10, 44)
        rows = max(1, len(grid.rows))
        tall = max(6, min(22, TALLEST // rows))
        alone = {row for row, column in grid.at.values() if column is None}  # has a name, so room for it
        tops = [0]
        for row in range(len(grid.rows)):
            tops.append(tops[-1] + (max(tall, 16) if row in alone else tall))
        numbers = tall >= 15 and not turned and rows * columns * len(shown) <= NUMBERS_UP_TO
        least = max([_width(font, panel.title) for panel in shown], default=0)
        return cls(
            cell=(across, tall),
            names=max((_width(font, name) for name in grid.rows), default=0) + 8,
            above=(wide + 8 if turned else 20) + 24 if grid.columns else 24,
            turned=turned,
            every=next(n for n in (1, 2, 5, 10, 20, 50, 100) if n * tall >= 14),
            across=max(columns * across, least, 180),
            panels=max(1, len(shown)),
            tops=tuple(tops),
            numbers=numbers,
        )

    @property
    def width(self) -> int:
        return max(640, self.left(self.panels) - GAP + PAD)

    @property
    def height(self) -> int:
        """Of a heatmap with its names and its legend."""
        return self.above + self.tops[-1] + 36

    def left(self, number: int) -> int:
        return PAD + self.names + number * (self.across + GAP)


def _panel(
    pen: ImageDraw,
    grid: Places,
    panel: Panel,
    layout: _Layout,
    corner: tuple[int, int],
    font: FreeTypeFont,
    *,
    numbered: bool,
) -> None:
    left, top = corner
    pen.text((left, top), panel.title, INK, font)
    top += layout.above
    across, gap = layout.across // max(1, len(grid.columns)), int(layout.cell[1] > 8)
    whole = across * max(1, len(grid.columns))
    for at, name in enumerate(grid.columns):
        _column_name(pen, name, left + at * across + across // 2, top - 6, font, turned=layout.turned)
    filled = {place: panel.cells.get(place) for place in grid.cells()}
    for (row, column), value in filled.items():
        x = left + (column or 0) * across
        above, below = (top + layout.tops[at] for at in (row, row + 1))
        box = (x, above, x + (whole if column is None else across) - 1, below - 1)
        edge = (box[0], box[1], box[2] - 1, box[3] - gap)
        pen.rectangle(edge, EMPTY if value is None else panel.colour(value))
        if layout.numbers:
            word, ink = ("-", QUIET) if value is None else (number(value), _ink_on(panel.colour(value)))
            pen.text(((box[0] + box[2]) / 2, (box[1] + box[3]) / 2), word, ink, font, anchor="mm")
    if numbered:
        for row, name in enumerate(grid.rows):
            last = name.rsplit(" ", 1)[-1]
            if not last.isdecimal() or int(last) % layout.every == 0:
                middle = (layout.tops[row] + layout.tops[row + 1]) / 2
                pen.text((left - 8, top + middle), name, QUIET, font, anchor="rm")
    _legend(pen, panel, (left, top + layout.tops[-1] + 10), whole, font)


def _column_name(pen: ImageDraw, name: str, x: int, y: int, font: FreeTypeFont, *, turned: bool) -> None:
    """Above its column, or upright over it where there is no room."""
    if not turned:
        pen.text((x, y), name, QUIET, font, anchor="ms")
        return
    from PIL import Image, ImageDraw

    strip = Image.new("L", (_width(font, name) + 2, 16), 0)
    ImageDraw.Draw(strip).text((1, 12), name, 255, font, anchor="ls")
    upright = strip.transpose(Image.Transpose.ROTATE_90)
    pen.bitmap((x - 8, y - upright.height + 2), upright, QUIET)


def _legend(pen: ImageDraw, panel: Panel, corner: tuple[int, int], across: int, font: FreeTypeFont) -> None:
    """The scale, with numbers at its ends and in the middle."""
    left, top = corner
    long = min(across, 180)
    for x in range(long):
        pen.line((left + x, top, left + x, top + 7), blend(panel.stops, x / (long - 1)))
    pen.rectangle((left, top, left + long - 1, top + 7), outline=LINE)
    for share, anchor in ((0, "la"), (0.5, "ma"), (1, "ra")):
        value = panel.low + share * (panel.high - panel.low)
        pen.text((left + share * (long - 1), top + 11), f"{value:g}", QUIET, font, anchor=anchor)


def _energy(
    pen: ImageDraw, energy: Mapping[str, float], corner: tuple[int, int], across: int, font: FreeTypeFont
) -> None:
    """A bar for every rank: how much of the sum it can hold."""
    left, top = corner
    pen.text((left, top), "share of the sum's squared norm that a rank can hold", INK, font)
    step = min(64, across // len(energy))
    foot = top + 74
    for at, (rank, share) in enumerate(energy.items()):
        x = left + at * step
        tall = round(34 * min(1.0, max(0.0, share)))
        pen.rectangle((x, foot - 34, x + step - 9, foot), EMPTY)
        if tall:
            pen.rectangle((x, foot - tall, x + step - 9, foot), "#0b5cad")
        middle = x + (step - 9) / 2
        pen.text((middle, foot - 38), percent(share), QUIET, font, anchor="ms")
        pen.text((middle, foot + 5), f"{'rank ' if not at else ''}{rank}", QUIET, font, anchor="ma")
    pen.line((left, foot + 1, left + step * len(energy) - 9, foot + 1), LINE)


def percent(share: float) -> str:
    """A share in percent, never rounded up to all of it."""
    shown = f"{100 * share:.1f} %"
    return ("100 %" if share >= 1 else ">99.9 %") if shown == "100.0 %" else shown


def _title(report: Report) -> str:
    error = report.relative_error
    told = "" if error is None else f", error {number(error)} of the sum"
    return f"{report.method}, rank {report.rank}{told}"


def _heading(report: Report, width: int, font: FreeTypeFont) -> list[str]:
    """The parents in at most two lines."""
    lines, rest = [""], list(report.parents)
    while rest:
        word = rest[0] + ("," if len(rest) > 1 else "")
        more = f" and {len(rest)} more"
        longer = f"{lines[-1]} {word}".strip()
        room = width - 2 * PAD - (_width(font, more) if len(lines) == 2 and len(rest) > 1 else 0)
        if _width(font, longer) <= room or not lines[-1]:
            lines[-1] = longer
            rest.pop(0)
        elif len(lines) == 1:
            lines.append("")
        else:
            lines[-1] = lines[-1].rstrip(",") + more
            break
    return lines


def _ink_on(colour: Colour) -> str:
    red, green, blue = colour
    return INK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else "white"


def _width(font: FreeTypeFont, text: str) -> int:
    return math.ceil(font.getlength(text))


def _font(load: Callable[[float], object], size: int) -> FreeTypeFont:
    """The font that comes with Pillow, so that a picture looks the same everywhere."""
    from PIL.ImageFont import FreeTypeFont

    font = load(size)
    assert isinstance(font, FreeTypeFont)  # every wheel of Pillow has FreeType
    return font
