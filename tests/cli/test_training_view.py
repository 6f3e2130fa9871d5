"""What a person sees while an adapter is trained, and of one that was trained before."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.cells import cell_len
from rich.console import Console

from lftreg.cli import loss_chart
from lftreg.cli.training_view import TableView, make_live
from lftreg.registry.records import Run
from lftreg.training import Compiling, Resumed, Shrunk, Stepped, Stopping, Validated, Warned
from lftreg.training.losses import LOSSES, Losses
from lftreg.training.samples import SAMPLES, Sample, written

from .conftest import RUN, Lftreg, Publish
from .test_main import HEAVY, imported_by
from .warm import Terminal

pytestmark = pytest.mark.slow

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:[0-9;]*;)?[349][0-7](?:;[0-9;]*)?m")
BRAILLE = re.compile(r"[\u2801-\u28ff]")
SHOWN, HIDDEN = "\x1b[?25h", "\x1b[?25l"
STEPS = 40
OPTIONS = ("--rank", "4", "--lr", "0.01", "--batch-size", "4", "--max-steps", "24")
SAID = (Sample("How long?", "Long. " * 90, "Forty days."), Sample("Why?", "", "Because."))


def events(until: int = STEPS) -> list[Any]:
    """A run that falls, validated every ten steps."""
    heard: list[Any] = [Validated(0, 4.4, True)]
    for step in range(1, until + 1):
        heard.append(Stepped(step, STEPS, 4 * 0.9**step, 1e-3, 100 * step, 0.5 * step, 800_000_000))
        if step % 10 == 0:
            heard.append(Validated(step, 0.1 + 4 * 0.9**step, True))
    return heard


class Page:
    """A terminal of a size, and a view that is drawn on it."""

    def __init__(self, width: int, height: int, name: str = "support", **options: Any) -> None:
        self.file = io.StringIO()
        self.console = Console(
            file=self.file,
            force_terminal=True,
            width=width,
            height=height,
            color_system="standard",
            **options,
        )
        self.view = TableView(name, STEPS)
        self.live = make_live(self.console, self.view)

    def hear(self, *heard: Any) -> Page:
        for event in heard:
            self.view.hear(event)
        return self

    def text(self) -> str:
        self.file.seek(0)
        self.file.truncate()
        self.console.print(self.view)
        return ESCAPE.sub("", self.file.getvalue())


def test_the_figures() -> None:
    page = Page(80, 24)
    assert "loading the base" in page.text()
    text = page.hear(*events(25)).text()
    assert text.startswith("support  25/40  0:08 left\n")  # two steps a second
    rows = {line[:15].strip(): line[15:] for line in text.splitlines()}
    assert 4 * 0.9**25 < float(rows["loss"]) < 4 * 0.9**20  # a running mean
    assert rows["validation"] == "4.400 -> 0.586, best 0.586 at step 20"
    assert rows["learning rate"] == "0.001"
    assert rows["speed"] == "200 tokens/s"
    assert "800 MB" in (rows.get("memory") or rows.get("GPU memory") or "")
    assert BRAILLE.search(text) and text.count("●") == 4  # three validations, and the line below
    assert "0.586 at step 20" in page.hear(Validated(25, 0.9, False)).text()


def test_the_speed_is_that_of_the_last_seconds() -> None:
    page = Page(80, 24).hear(*events(20))
    for step in range(21, 41):  # ten times as slow from here on
        page.hear(Stepped(step, STEPS, 1.0, 1e-3, 100 * step, 10 + 5.0 * (step - 20), 1))
    assert "speed          20 tokens/s" in page.text()


@pytest.mark.parametrize("name", ["support", "n" * 64, "客服" * 20])
@pytest.mark.parametrize(("width", "height"), [(20, 6), (40, 15), (59, 24), (60, 20), (80, 24), (200, 60)])
def test_it_fits_whatever_the_terminal_is(width: int, height: int, name: str) -> None:
    for heard in ([], events(0), events(25), events(), [*events(25), Stopping(2)]):
        lines = Page(width, height, name).hear(*heard).text().splitlines()
        assert max(map(cell_len, lines)) < width
        assert len(lines) < height
        assert any(f"{min(STEPS, 25)}/{STEPS}" in line or "/40" in line for line in lines)
        assert bool(BRAILLE.search("\n".join(lines))) == (len(heard) > 0 and width >= 60 and height >= 20)


def test_colours_only_where_they_are_wanted() -> None:
    page = Page(80, 24).hear(*events())
    page.text()
    assert COLOUR.search(page.file.getvalue())
    page = Page(80, 24, no_color=True).hear(*events())
    page.text()
    assert not COLOUR.search(page.file.getvalue())


def test_a_window_that_becomes_narrower_leaves_nothing_behind() -> None:
    page = Page(100, 30).hear(*events())
    with page.live:
        page.live.refresh()
        before = list(page.view.widths)
        wrapped = sum(-(-max(1, width) // 50) for width in before)
        assert wrapped > len(before)
        page.file.seek(0)
        page.file.truncate()
        page.console.width = 50
        page.live.refresh()
        drawn = page.file.getvalue().split("support")[0]
        assert drawn.count("\x1b[1A") == wrapped - 1


def test_sentences_stay_above_the_table() -> None:
    page = Page(80, 24)
    with page.live:
        page.hear(Compiling(), Shrunk(3, 4, True), Resumed(7, fallback=True), Warned("wandb failed"))
    said = " ".join(ESCAPE.sub("", page.file.getvalue()).split())
    assert "the base's layers are compiled: the first step takes some twenty seconds" in said
    assert "memory ran out at step 3: tried again with 4 rows at once and gradient checkpointing" in said
    assert "goes on after step 7 (the newest checkpoint is damaged" in said
    assert "warning: wandb failed" in said


def test_the_losses_of_a_flat_run_can_be_drawn() -> None:
    for training, validation in (
        ([], []),
        ([(1, 0.0)], []),
        ([], [(0, 0.0)]),
        ([(1, 2.0)] * 5000, [(0, 2.0)]),
    ):
        drawn = loss_chart.chart(training, validation, 1, 60, 10)
        assert "validation" in drawn.plain
        assert max(cell_len(line) for line in drawn.plain.splitlines()) <= 60


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    file = tmp_path / "rows.jsonl"
    pairs = [{"prompt": f"What is {n}?", "response": f"It is the number {n}."} for n in range(60)]
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    return file


Spawn = Callable[..., Terminal]


@pytest.fixture
def spawn(environment: dict[str, str], tmp_path: Path) -> Spawn:
    def start(*words: str, **variables: str) -> Terminal:
        return Terminal(words, environment | variables, tmp_path)

    return start


def test_a_run_on_a_terminal(spawn: Spawn, lftreg: Lftreg, rows: Path, tiny_llama: Path) -> None:
    process = spawn("train", "--data", str(rows), "--base", str(tiny_llama), *OPTIONS, NO_COLOR="1")
    process.expect(pexpect.EOF)
    raw = str(process.before)
    assert process.ended() == 0, raw
    assert raw.rfind(SHOWN) > raw.rfind(HIDDEN) >= 0
    assert not COLOUR.search(raw)
    end = ESCAPE.sub("", raw[raw.rfind(SHOWN) :]).replace("\r", "")
    assert BRAILLE.search(end), "the last chart stays"
    assert re.search(r"^trained +rows@1 ", end, re.MULTILINE)
    assert re.search(r"^loss +\d+\.\d{3} -> \d+\.\d{3} nats a token$", end, re.MULTILINE)
    assert re.search(r"^tokens +[\d,]+ in \d+ s, [\d,]+ tokens/s$", end, re.MULTILINE)
    assert re.search(r"^memory +\S+ [MG]B at most$", end, re.MULTILINE)
    assert end.count("\n> What is") == 3 == end.count("\n  before") == end.count("\n  after ")
    assert "next: lftreg generate rows" in end
    assert max(map(cell_len, end.splitlines())) <= 80
    shown = lftreg("show", "rows", "--chart", "--picture", "loss.png", "--json").document
    assert [step["step"] for step in shown["losses"]["steps"]] == list(range(1, 25))
    assert shown["losses"]["validations"][0]["loss"] == shown["loss"]["validation_before"]
    assert Path(shown["picture"]).read_bytes().startswith(b"\x89PNG")
    assert len(shown["samples"]) == 3 and shown["memory"] > 1e8 and shown["cost"] is None
    assert BRAILLE.search(lftreg("show", "rows", "--chart").out)


def test_ctrl_c_is_heard_and_the_terminal_left_clean(spawn: Spawn, rows: Path, tiny_llama: Path) -> None:
    long = ("--max-steps", "4000", "--accumulate", "40", "--lr", "1e-5")
    process = spawn("train", "--data", str(rows), "--base", str(tiny_llama), *OPTIONS, *long)
    process.expect("tokens/s")
    process.send("\x03")
    process.expect("stopping after this step, Ctrl-C again to stop at once")
    process.expect(pexpect.EOF)
    raw = str(process.before)
    assert process.ended() == 130
    assert raw.rfind(SHOWN) > raw.rfind(HIDDEN)
    end = ESCAPE.sub("", raw[raw.rfind(SHOWN) :])
    assert "everything is saved" in end and "lftreg train --resume" in end
    assert not BRAILLE.search(end) and "learning rate" not in end


def test_a_dumb_terminal_gets_lines(spawn: Spawn, rows: Path, tiny_llama: Path) -> None:
    process = spawn("train", "--data", str(rows), "--base", str(tiny_llama), *OPTIONS, TERM="dumb")
    process.expect(pexpect.EOF)
    raw = str(process.before)
    assert "\x1b" not in raw and "learning rate  " not in raw
    assert "rows@1" in raw


@pytest.mark.parametrize("silent", ["--json", "-q"])
def test_scripts_see_nothing_of_it(spawn: Spawn, rows: Path, tiny_llama: Path, silent: str) -> None:
    words = ("train", "--data", str(rows), "--base", str(tiny_llama), *OPTIONS, silent)
    process = spawn(*words)
    process.expect(pexpect.EOF)
    raw = str(process.before)
    assert HIDDEN not in raw and "learning rate" not in raw and not BRAILLE.search(raw)
    if silent == "--json":
        made = json.loads(raw)
        assert set(made) >= {"samples", "memory", "cost"}
        assert set(made["samples"][0]) == {"prompt", "before", "after"}


def trained(publish: Publish, **settings: Any) -> None:
    losses = Losses([e for e in events() if isinstance(e, Stepped)], [Validated(0, 4.4, True)])
    run = Run(**{name: getattr(RUN, name) for name in RUN.__slots__} | {"settings": settings})
    publish("support", run=run, attachments={SAMPLES: written(SAID), LOSSES: losses.to_bytes()})


def test_show_is_a_report(lftreg: Lftreg, publish: Publish) -> None:
    cost = {"usd": 0.1234, "price_per_hour": 2.5, "device": "H100"}
    trained(publish, memory=812_000_000, cost=cost, steps=40, best_step=30)
    said = lftreg("show", "support").out
    rows = dict(line.split(None, 1) for line in said.splitlines() if len(line.split(None, 1)) == 2)
    assert rows["loss"] == "4.000 -> 0.500 nats a token"
    assert rows["validation"] == "3.900 -> 0.310"
    assert rows["best"] == "step 30 of 40"
    assert rows["memory"] == "812 MB at most"
    assert rows["cost"] == "$0.12, H100 at $2.50 an hour"
    assert "Forty days." in said and "(nothing)" in said
    assert said.count("Long.") < 30 and lftreg("show", "support", "-v").out.count("Long.") == 90
    document = lftreg("show", "support", "--json").document
    assert document["samples"][0]["before"] == SAID[0].before
    assert (document["memory"], document["cost"]) == (812_000_000, cost)


def test_show_loads_no_model_library(environment: dict[str, str], publish: Publish) -> None:
    trained(publish)
    for words in (("show", "support"), ("show", "support", "--chart")):
        assert not imported_by(environment, *words) & set(HEAVY)


def test_a_pipe_that_asks_for_colours_gets_lines(lftreg: Lftreg, rows: Path, tiny_llama: Path) -> None:
    """As the logs of a build do; and what wants nothing but the data gets the name of what was made."""
    done = lftreg("train", "--data", str(rows), "--base", str(tiny_llama), *OPTIONS, FORCE_COLOR="1")
    assert HIDDEN not in done.err and "learning rate  " not in done.err
    again = lftreg("train", "--data", str(rows), "--base", str(tiny_llama), *OPTIONS, "-q")
    assert again.out.split() == [f"{rows.stem}@2"]


def test_where_there_is_nothing_to_draw(lftreg: Lftreg, publish: Publish, tmp_path: Path) -> None:
    publish("bare")
    assert lftreg("show", "bare", "--chart", "--json", code=3).error["code"] == "no-losses"
    assert lftreg("show", "bare", "--picture", "x.png", "--json", code=3).error["code"] == "no-picture"
    publish("drawn", attachments={"loss.png": b"\x89PNG"})
    (tmp_path / "x.png").write_text("mine")
    assert lftreg("show", "drawn", "--picture", "x.png", "--json", code=2).error["code"] == "exists"
    assert (tmp_path / "x.png").read_text() == "mine"
    assert lftreg("show", "drawn", "--picture", "y.png", "--report", "--json", code=2).error["hint"]
    publish("broken", attachments={LOSSES: b"{}", SAMPLES: b"no"})
    assert lftreg("show", "broken", "--chart", "--json", code=2).error["code"] == "invalid-data"
    assert lftreg("show", "broken", "--json").document["samples"] is None


def test_a_dry_run_names_what_differs(lftreg: Lftreg) -> None:
    words = (
        "train",
        "customer_support",
        "--dry-run",
        "--neftune",
        "5",
        "--packing",
        "--prompt-dropout",
        "0.25",
    )
    also = next(line for line in lftreg(*words).out.splitlines() if line.startswith("also"))
    assert "neftune 5" in also and "packing" in also and "prompt-dropout 0.25" in also
