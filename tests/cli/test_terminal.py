"""What a person sees: a real terminal of a given width, with and without colour."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest
from rich.cells import cell_len

from lftreg.paths import Home
from lftreg.registry.records import Version
from lftreg.training.runs import Request, Runs
from tests.cli.conftest import Lftreg, Publish
from tests.cli.warm import Terminal

pytestmark = pytest.mark.slow

Screen = Callable[..., str]
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture
def screen(environment: dict[str, str], tmp_path: Path) -> Screen:
    """Everything that a command writes to a terminal of `columns`, after `answer` to its question."""

    def run(
        *words: str, columns: int = 80, answer: str | None = None, code: int = 0, **variables: str
    ) -> str:
        process = Terminal(words, environment | variables, tmp_path, columns)
        shown = ""
        if answer is not None:
            process.expect_exact("[y/N] ")
            shown = str(process.before) + str(process.after)
            process.sendline(answer)
        process.expect(pexpect.EOF)
        assert process.ended() == code
        return (shown + str(process.before)).replace("\r\n", "\n")

    return run


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_nothing_wraps(screen: Screen, desk: Version, publish: Publish, lftreg: Lftreg, columns: int) -> None:
    lftreg("alias", "support", "prod")
    lftreg("tag", "support", "team=desk", "tone=warm", "language=en")
    for words in (
        ("list",),
        ("show", "support"),
        ("lineage", "advisor_desk"),
        ("bases",),
        ("domains",),
        ("methods",),
        ("metrics",),
    ):
        for line in ESCAPE.sub("", screen(*words, columns=columns)).splitlines():
            assert cell_len(line) <= max(columns, 76), words  # a digest is never cut


def test_a_success_ends_with_what_to_do_next(screen: Screen, desk: Version) -> None:
    assert re.search(r"next: lftreg show support@prod\n$", ESCAPE.sub("", screen("alias", "support", "prod")))
    assert "next:" not in screen("alias", "support", "prod", "-q")
    assert "next:" not in screen("alias", "support", "prod", "--json")


def test_no_color_is_kept(screen: Screen, desk: Version, lftreg: Lftreg) -> None:
    lftreg("alias", "support", "prod")
    coloured = re.compile(r"\x1b\[[0-9;]*3[0-7][;m]")
    assert coloured.search(screen("list"))
    assert not coloured.search(screen("list", NO_COLOR="1"))
    assert "\x1b" not in screen("list", TERM="dumb")
    assert not coloured.search(screen("show", "nothing", code=3, NO_COLOR="1"))


def test_a_plain_terminal_has_its_own_width(screen: Screen) -> None:
    narrow, wide = (
        max(map(cell_len, screen("methods", TERM="dumb", columns=columns).splitlines()))
        for columns in (60, 120)
    )
    assert narrow < 76 < 80 < wide <= 120


def test_rm_asks_before_an_alias_points_nowhere(screen: Screen, desk: Version, lftreg: Lftreg) -> None:
    lftreg("alias", "support", "prod")
    kept = screen("rm", "support", answer="n", code=1)
    assert "support@prod will point nowhere. Remove support? [y/N]" in kept
    assert lftreg("list", "--name", "support", "-q").out == "support@1\n"
    assert "removed support@1" in screen("rm", "support", answer="y")
    assert lftreg("list", "--name", "support", "-q").out == ""


def test_gc_asks_before_runs_that_could_be_gone_on_with(screen: Screen, home: Path) -> None:
    run = Runs(Home(home)).begin(Request("old", "starter", "f" * 64, "d" * 64, {}, {}, 1))
    asked = screen("gc", "--keep-days", "0", answer="n", code=1)
    assert "1 interrupted run will be gone for good. Go on? [y/N]" in asked and run.path.is_dir()
    screen("gc", "--keep-days", "0", answer="y")
    assert not run.path.is_dir()


def test_yes_and_no_input_do_not_ask(screen: Screen, desk: Version, lftreg: Lftreg) -> None:
    lftreg("alias", "support", "prod")
    assert "[y/N]" not in screen("rm", "support", "--yes")
    lftreg("restore", "support")
    assert "[y/N]" not in screen("rm", "support", "--no-input")


def test_long_errors_wrap_between_words(screen: Screen) -> None:
    shown = ESCAPE.sub("", screen("show", "nothing-of-this-kind", columns=40, code=3))
    assert max(map(len, shown.splitlines())) <= 44
