"""The loss curve of a run as a picture, stored beside its version."""

from __future__ import annotations

import io
from collections.abc import Sequence

from lftreg.training.events import Stepped, Validated
from lftreg.training.losses import running_mean

CURVE = "loss.png"
INK, ACCENT, QUIET, GRID = "#7d8fa3", "#0b5cad", "#c9d3de", "#e4e9ef"


def draw(
    title: str, steps: Sequence[Stepped], validations: Sequence[Validated], unit: str = "token"
) -> bytes:
    """PNG bytes: training loss by step, its running mean, validation losses, a ring around the best.

    `unit` is what the losses are counted by. The same losses give the same bytes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 4.5), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    at = [s.step for s in steps]
    losses = [s.loss for s in steps]
    axes.plot(at, losses, color=QUIET, linewidth=1, label="training, each step")
    axes.plot(at, running_mean(losses), color=INK, linewidth=1.6, label="training, running mean")
    axes.plot(
        [v.step for v in validations],
        [v.loss for v in validations],
        color=ACCENT,
        marker="o",
        markersize=4,
        linewidth=1.6,
        label="validation",
    )
    best = min(validations, key=lambda v: v.loss)
    axes.plot(
        [best.step], [best.loss], color="white", marker="o", markersize=8, markeredgecolor=ACCENT,
        markeredgewidth=1.6, linestyle="", label=f"best {best.loss:.3f} at step {best.step}",
    )  # fmt: skip
    axes.set(title=title, xlabel="optimizer step", ylabel=f"loss (nats a {unit})")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
