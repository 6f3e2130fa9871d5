"""The loss curve of a run as a picture, stored beside its version."""

from __future__ import annotations

import io
from collections.abc import Sequence

from lftreg.training.events import Stepped, Validated
from lftreg.training.losses import running_mean

CURVE = "loss.png"
INK, ACCENT, QUIET = "#8fa3b8", "#0b5cad", "#d9e0e8"


def draw(
    title: str, steps: Sequence[Stepped], validations: Sequence[Validated], unit: str = "token"
) -> bytes:
    """PNG bytes: training loss by step, its running mean, validation losses, the best one marked.

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
    axes.annotate(
        f"best {best.loss:.3f}", (best.step, best.loss), textcoords="offset points", xytext=(-6, 12),
        ha="right", color=ACCENT,
    )  # fmt: skip
    axes.set(title=title, xlabel="optimizer step", ylabel=f"loss (nats a {unit})")
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=QUIET, linewidth=0.6)
    axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", metadata={"Software": None})
    return picture.getvalue()
