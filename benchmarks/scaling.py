"""How lftreg's training grows: with the base, the length of rows, the rank, and how many adapters train at once.

    python benchmarks/scaling.py [--panels base,length,rank,adapters] [--seconds 2] [--deadline 280] [--results FILE]
    python benchmarks/scaling.py --chart benchmarks/results/scaling.json --picture docs/assets/scaling.svg
    python benchmarks/scaling.py --tiny                                          # a rehearsal, on any machine

Rows are of random ids and all of a length, bases of random numbers. A point is tokens a second over the measured
steps, behind some that warm up, and the most memory that torch had allocated in any of them. Points are kept as soon as
they are there; one that fails is told and ends no other, and none is begun past the deadline. Panels that are not
asked for stay in the results as they are, if they are of the same machine and versions.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from training_bases import (
    SHAPES,
    base_of,
    in_steps,
    lanes_of,
    machine,
    matrix_rate,
    parameters_of,
    peak,
    reset_peak,
    shared_base,
    step_of,
    synchronised,
    versions,
)

GRID, BLUE, ORANGE = "#e4e9ef", "#0b5cad", "#c2410c"
PANELS = {
    "base": "Size of the base, billions of parameters",
    "length": "Tokens of a row, as many a step throughout",
    "rank": "Rank",
    "adapters": "Adapters at once, a row of {length} tokens each",
}
WARM = 3  # steps


@dataclass(frozen=True)
class Point:
    """`adapters` that each have a step of `rows` rows of `length` tokens. `at` is where it stands in its panel."""

    panel: str
    at: float
    shape: str
    rows: int = 8
    length: int = 1024
    rank: int = 16
    adapters: int = 1


def points_of(tiny: bool) -> list[Point]:
    shapes = ("tiny",) if tiny else ("0.1b", "0.5b", "1b", "3b", "8b")
    middle = "tiny" if tiny else "1b"
    rows, length = (2, 64) if tiny else (8, 1024)
    lengths = [16, 32, 64, 128] if tiny else [256, 1024, 4096, 16384, 32768]
    ranks = [4, 16] if tiny else [4, 16, 64, 256]
    adapters = [1, 2, 4] if tiny else [1, 4, 8, 32]
    each = 16 if tiny else 256
    return [
        *(Point("length", one, middle, lengths[-1] // one, one) for one in lengths),
        *(Point("rank", one, middle, rows, length, one) for one in ranks),
        *(Point("adapters", one, middle, 1, each, adapters=one) for one in adapters),
        *(Point("base", parameters_of(one) / 1e9, one, rows, length) for one in shapes),
    ]


@dataclass
class Held:
    """The base in memory: points of the same base share it."""

    shape: str = ""
    model: Any = None

    def of(self, shape: str) -> Any:
        if shape != self.shape:
            self.model = None
            tidy()
            self.model, self.shape = base_of(shape), shape
        return self.model


def measured(point: Point, held: Held, seconds: float) -> dict[str, float]:
    model = held.of(point.shape)
    groups = groups_of(point)
    lanes, learners, shrunk = lanes_of(model, [point.rank] * point.adapters, point.rows)
    reset_peak()
    spans: list[float] = []
    with shared_base(model) as shared:
        for lane in lanes:
            shared.hook(lane)
        began = before = synchronised()
        while len(spans) < WARM + 3 or before - began < seconds:
            step_of(shared, lanes, learners, groups)
            after = synchronised()
            spans.append(after - before)
            before = after
            if len(spans) == WARM:
                began = after
    tokens = point.adapters * point.rows * point.length
    found = {
        "tokens_a_second": tokens / statistics.median(spans[WARM:]),
        "steps": len(spans) - WARM,
        "first_step_seconds": spans[0],
        "peak_gib": peak(),
    }
    return found | ({"shrunk": shrunk[-1]} if shrunk else {})


def groups_of(point: Point) -> list[list[Any]]:
    """The rows of each adapter's step."""
    import random

    dice, words = random.Random(0), range(2, SHAPES[point.shape][5])
    return [
        in_steps(
            [tuple(dice.choices(words, k=point.length)) for _ in range(point.rows)],
            point.rows * point.length,
        )[0]
        for _ in range(point.adapters)
    ]


def tidy() -> None:
    """Nothing of one point may be left for the next."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextlib.contextmanager
def failures_in(found: dict[str, Any]) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001 one failing point must not stop the others
        said = str(error).strip().splitlines()
        found["error"] = f"{type(error).__name__}: {said[0][:300] if said else ''}"


def measure(given: argparse.Namespace) -> None:
    began = time.perf_counter()
    told: dict[str, Any] = {"machine": machine(), "versions": versions(), "matrix_rate": matrix_rate()}
    print(
        f"{told['machine']}, {told['versions']}; a matrix product: {told['matrix_rate'] / 1e12:.1f} TFLOP/s"
    )
    print(
        f"{'panel':10} {'at':>8} {'base':>5} {'tokens a step':>14} {'tokens/s':>9} {'of rate':>8} {'GiB':>6}"
    )
    panels = given.panels.split(",")
    told["points"], held = others(given.results, told, panels), Held()
    for point in (one for one in points_of(given.tiny) if one.panel in panels):
        found: dict[str, Any] = dict(vars(point))
        if time.perf_counter() - began > given.deadline:
            found["error"] = "left out: the deadline is over"
        else:
            with failures_in(found):
                found |= measured(point, held, given.seconds)
                work = 4 * parameters_of(point.shape) * found["tokens_a_second"]
                found |= {"matrix_rate": told["matrix_rate"], "share": work / told["matrix_rate"]}
            tidy()
        told["points"].append(found)
        given.results.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        show(found)


def others(results: Path, told: dict[str, Any], panels: Sequence[str]) -> list[dict[str, Any]]:
    """Points of the panels that were measured before."""
    if not results.exists():
        return []
    before = json.loads(results.read_text(encoding="utf-8"))
    if any(before[key] != told[key] for key in ("machine", "versions")):
        return []
    return [one for one in before["points"] if one["panel"] not in panels]


def show(found: dict[str, Any]) -> None:
    tokens = found["adapters"] * found["rows"] * found["length"]
    line = f"{found['panel']:10} {found['at']:>8.4g} {found['shape']:>5} {tokens:>14,}"
    if "error" in found:
        print(f"{line} {found['error']}", flush=True)
        return
    shrunk = f"  memory ran out: {found['shrunk']}" if "shrunk" in found else ""
    print(f"{line} {found['tokens_a_second']:>9,.0f} {found['share']:>8.1%} {found['peak_gib']:>6.1f}  "
          f"first step {found['first_step_seconds']:.1f} s{shrunk}", flush=True)  # fmt: skip


def chart(told: dict[str, Any], picture: Path) -> None:
    """Four panels, each with tokens a second above and the peak of memory below."""
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    matplotlib.rcParams["svg.hashsalt"] = "lftreg"  # the same results give the same file
    figure = Figure(figsize=(10, 8), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(
        f"Training adapters on one {told['machine']}\n"
        f"(%: of the {told['matrix_rate'] / 1e12:,.0f} TFLOP/s that a matrix product reaches there, "
        "at 4 operations a token and parameter)", fontsize=11,
    )  # fmt: skip
    parts = figure.subfigures(2, 2, wspace=0.04, hspace=0.04).flat
    for part, (panel, words) in zip(parts, PANELS.items(), strict=True):
        points = sorted(
            (one for one in told["points"] if one["panel"] == panel and "error" not in one),
            key=lambda one: one["at"],
        )
        if points:
            draw(part, panel, words, points)
    options: dict[str, Any] = {"Date": None} if picture.suffix == ".svg" else {"Software": None}
    figure.savefig(picture, metadata=options)


def draw(part: Any, panel: str, words: str, points: list[dict[str, Any]]) -> None:
    speed, memory = part.subplots(2, 1, sharex=True, height_ratios=(3, 2))
    across = [one["at"] for one in points]
    for axes, key, colour in ((speed, "tokens_a_second", BLUE), (memory, "peak_gib", ORANGE)):
        axes.plot(across, [one[key] for one in points], color=colour, marker="o", markersize=5, linewidth=1.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.margins(x=0.06, y=0.16)
    speed.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    speed.set_ylabel("tokens/s")
    memory.set_ylabel("peak GiB")
    memory.set_ylim(0, max(one["peak_gib"] for one in points) * 1.15)
    most = max(one["tokens_a_second"] for one in points)
    if panel == "base":
        speed.set_yscale("log")
        speed.set_ylim(min(one["tokens_a_second"] for one in points) / 2, most * 2)
    else:
        speed.set_ylim(0, most * 1.2)
    for one in points:
        speed.annotate(
            f"{one['share']:.0%}", (one["at"], one["tokens_a_second"]), xytext=(0, 6),
            textcoords="offset points", ha="center", fontsize=8, color=BLUE,
        )  # fmt: skip
    memory.set_xscale("log", base=2 if panel != "base" else 10)
    memory.set_xticks(across, [ticked(panel, one) for one in across])
    for axes in (speed, memory):
        axes.tick_params(axis="x", which="minor", bottom=False, labelbottom=False)
    memory.set_xlabel(words.format(length=points[0]["length"]))
    speed.set_title(about(panel, points[0]), fontsize=9, loc="left", color="#475569")


def ticked(panel: str, at: float) -> str:
    if panel == "length" and at >= 1024:
        return f"{at / 1024:.0f}k"
    return f"{at:.1f}" if panel == "base" and at >= 0.05 else f"{at:.3g}"


def about(panel: str, point: dict[str, Any]) -> str:
    """What is the same at all points of a panel."""
    tokens = f"{point['rows'] * point['length']:,} tokens a step"
    base = "" if panel == "base" else f"base {point['shape']}, "
    rank = "" if panel == "rank" else f", rank {point['rank']}"
    return f"{base}{'' if panel == 'adapters' else tokens}{rank}".replace(
        ", ,", ","
    )  # one comma where nothing stands


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--panels", default=",".join(PANELS))
    parser.add_argument("--seconds", type=float, default=2.0, help="measured, of each point")
    parser.add_argument("--deadline", type=float, default=280.0, help="seconds after which no point is begun")
    parser.add_argument("--results", type=Path, default=Path(__file__).parent / "results" / "scaling.json")
    parser.add_argument("--tiny", action="store_true", help="small enough for any machine")
    parser.add_argument("--chart", type=Path, metavar="RESULTS", help="draw what was measured before")
    parser.add_argument("--picture", type=Path, default=Path("scaling.svg"), help="SVG or PNG, by its name")
    given = parser.parse_args()
    if given.chart:
        chart(json.loads(given.chart.read_text(encoding="utf-8")), given.picture)
        return
    given.results.parent.mkdir(parents=True, exist_ok=True)
    measure(given)


if __name__ == "__main__":
    main()
