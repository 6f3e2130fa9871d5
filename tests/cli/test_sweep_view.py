"""What a person sees of a sweep."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from lftreg.cli.progress import Lines
from lftreg.cli.sweep_view import View, chart, print_sweep
from lftreg.sweeping import Swept, make_space
from lftreg.sweeping import events as heard
from lftreg.sweeping.study import Row

SPACE = make_space({"lr": {"low": 1e-4, "high": 1e-2, "log": True}, "rank": [4, 8]})
ROWS = (
    Row(0, {"lr": 1e-3, "rank": 4}, "finished", 1.5, 100),
    Row(1, {"lr": 5e-3, "rank": 8}, "stopped", 2.5, 25, "others were better at 25 % of the steps"),
    Row(2, {"lr": 9e-3, "rank": 8}, "failed", None, 0, "the loss became nan"),
)
WINNER = {"confirmed": [{"trial": 0, "test": 1.75, "validation": 1.5, "settings": {"lr": 1e-3, "rank": 4}}]}


def swept(space: Any = SPACE, rows: tuple[Row, ...] = ROWS) -> Swept:
    return Swept(None, "both", space, rows, WINNER)


def page() -> Console:
    return Console(file=io.StringIO(), width=100, height=40, force_terminal=True, color_system=None)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_lines_tell_of_every_trial() -> None:
    console = page()
    view = View(Lines(console, "sweep", None))
    for event in (
        heard.Began("both", 0, 3, 1),
        heard.Stepped(),
        heard.Halved(25, 2, 1),
        *(heard.Ended(row, 1, 3) for row in ROWS),
        heard.Warned("the base's layers could not be compiled: \x1b[31mno compiler"),
        heard.OutOfTime(2, 3),
        heard.Waiting(2),
        heard.Waiting(2),
        heard.Tested(0, 1.75),
        heard.Tested(1, None, "no-improvement"),
        heard.Stopping(),
    ):
        view.hear(event)
    assert said(console).splitlines() == [
        "study both: 0 of 3 trials are there; 1 that were killed begin anew",
        "at 25 % of the steps 1 of 2 go on",
        "trial 0: lr 0.001, rank 4: 1.500",
        "trial 1: lr 0.005, rank 8: 2.500 (others were better at 25 % of the steps)",
        "trial 2: lr 0.009, rank 8 (the loss became nan)",
        "warning: the base's layers could not be compiled: \\x1b[31mno compiler",
        "the budget is spent after 2 of 3 trials",
        "waiting for other processes at 2 trials",
        "trial 0: test loss 1.750",
        "trial 1: no-improvement",
    ]


def test_the_chart_and_the_table() -> None:
    console = page()
    print_sweep(console, swept(), terminal=True)
    text = said(console)
    assert "● rank 4   ▲ rank 8   lowest validation loss by learning rate" in text
    assert text.count("●") == text.count("▲") == 2  # in the chart and below it
    lines = text.splitlines()
    assert lines[-4].split() == ["TRIAL", "LR", "RANK", "VALIDATION", "TEST", "STEPS"]
    assert lines[-3].split() == ["0", "0.001", "4", "1.500", "1.750", "100", "%"]


def test_a_space_without_numbers_has_a_chart_too() -> None:
    space = make_space({"targets": ["mlp", "attention"]})
    rows = (
        Row(0, {"targets": "mlp"}, "finished", 1.0, 100),
        Row(1, {"targets": "attention"}, "finished", 2.0, 100),
    )
    assert "lowest validation loss by targets" in chart(swept(space, rows), 90, 14).plain
    assert "no trial" in chart(swept(rows=ROWS[2:]), 90, 14).plain
