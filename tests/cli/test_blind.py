"""`lftreg eval --blind` at a real terminal: who chooses sees answers and never whose they are."""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pexpect
import pytest

from lftreg.registry import Preference, Registry
from tests.cli.conftest import Lftreg
from tests.cli.warm import Terminal
from tests.evaluation.parrots import BLUE, RED, write

pytestmark = pytest.mark.slow

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
ITEMS = 6
Spawn = Callable[..., Terminal]


@pytest.fixture
def taught(taught: Registry, tmp_path: Path) -> Registry:
    """The registry with `crimson` and `blue`, and a suite to ask them."""
    questions = [{"prompt": f"Who is thing {n * 17 + 3}?", "response": "Nobody."} for n in range(ITEMS)]
    write(tmp_path / "desk.jsonl", questions)
    return taught


@pytest.fixture
def spawn(environment: dict[str, str], tmp_path: Path) -> Spawn:
    def start(*words: str) -> Terminal:
        words = ("eval", *words, "--blind", "--suite", "desk.jsonl", "--max-tokens", "12")
        return Terminal(words, environment | {"NO_COLOR": "1"}, tmp_path)

    return start


class Talk:
    """One sitting at the terminal: `shown` is all that was on it once pairs were asked about."""

    def __init__(self, process: Terminal) -> None:
        self.process = process
        self.shown = ""
        self.process.expect_exact("q ends.")
        self.start = ESCAPE.sub("", str(process.before))

    def pair(self) -> tuple[str, str, str]:
        """The question and the two answers that are asked about."""
        self.process.expect_exact("which? ")
        page = ESCAPE.sub("", str(self.process.before)).replace("\r\n", "\n")
        self.shown += page
        found = re.search(r"\[(\d+)/(\d+)\] (Who is thing \d+\?)\n  1 (.*?)\n  2 (.*)\n", page, re.DOTALL)
        assert found is not None, page
        return found[3], found[4], found[5]

    def end(self) -> str:
        self.process.expect(pexpect.EOF)
        return ESCAPE.sub("", str(self.process.before)).replace("\r\n", "\n")


def kept(taught: Registry, name: str = "crimson", count: int | None = None) -> list[Preference]:
    """The choices of an adapter; waits until there are `count`, as another process stores them."""
    digest, deadline = taught.get(name).digest, time.monotonic() + 20
    while True:
        found = taught.scores.preferences(digest)
        if count is None or len(found) == count or time.monotonic() > deadline:
            return found
        time.sleep(0.05)


def prompt(item: int) -> str:
    return f"Who is thing {item * 17 + 3}?"


def test_choices_outlive_a_kill_and_only_the_rest_is_asked_again(taught: Registry, spawn: Spawn) -> None:
    first = Talk(spawn("crimson", "--against", "blue"))
    assert "6 pairs to choose between, 0 chosen before, 0 where both say the same" in first.start
    expected = {}

    asked, one, other = first.pair()
    assert {one, other} == {RED, BLUE}
    first.process.sendline("x")  # no key: asked again, and nothing is kept
    first.process.expect_exact("1 or 2 takes an answer, t is a tie, s skips, q ends")
    first.process.expect_exact("which? ")
    assert kept(taught) == []
    first.process.sendline("1")
    expected[asked] = "it" if one == RED else "other"
    assert len(kept(taught, count=1)) == 1
    asked, one, other = first.pair()
    first.process.sendline("2")
    expected[asked] = "it" if other == RED else "other"
    assert len(kept(taught, count=2)) == 2
    first.pair()
    first.process.process.kill()
    assert first.process.ended() == -signal.SIGKILL
    assert {prompt(choice.item): choice.choice for choice in kept(taught)} == expected

    second = Talk(spawn("crimson", "--against", "blue"))
    assert "4 pairs to choose between, 2 chosen before" in second.start
    asked, *_ = second.pair()
    second.process.sendline("T")
    expected[asked] = "tie"
    kept(taught, count=3)
    skipped, *_ = second.pair()
    second.process.sendline("s")
    asked, one, other = second.pair()
    assert len({*expected, skipped, asked}) == 5
    assert len(kept(taught)) == 3  # a skipped one is not kept
    second.process.sendline("q")
    end = second.end()
    assert second.process.ended() == 0
    assert {prompt(choice.item): choice.choice for choice in kept(taught)} == expected
    for page in (first.shown, second.shown):
        assert not re.search(
            "crimson|blue@|base:", page
        )  # BLUE begins as the name does, so: the name as a REF
    it, theirs = (list(expected.values()).count(side) for side in ("it", "other"))
    assert f"crimson {it}, blue {theirs}, ties 1" in end
    assert f"crimson is preferred in {it / 2:.0%} of the choices" in end
    assert "too few choices to name a winner" in end
    choice = kept(taught)[0]
    assert (choice.ref, choice.against_ref, choice.against) == ("crimson", "blue", taught.get("blue").digest)


def test_what_was_typed_before_a_pair_was_shown_is_no_choice(taught: Registry, spawn: Spawn) -> None:
    process = spawn("crimson", "--against", "blue")
    process.sendline("1\n2\n1")  # models are still loading
    talk = Talk(process)
    talk.pair()
    assert kept(taught) == []
    process.sendline("q")
    assert "crimson 0, blue 0, ties 0" in talk.end()
    assert process.ended() == 0
    assert kept(taught) == []


@pytest.mark.parametrize("leave", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_whoever_leaves_keeps_what_was_chosen(taught: Registry, spawn: Spawn, leave: str) -> None:
    talk = Talk(spawn("crimson"))  # with the base, where nobody else is named
    _, one, other = talk.pair()
    assert RED in (one, other) and one != other
    talk.process.sendline("1" if one == RED else "2")
    talk.pair()
    talk.process.send(leave)
    end = talk.end()
    assert talk.process.ended() == 0
    assert "\nended; what was chosen is kept" in end.replace("\r", "") and "Traceback" not in end
    assert re.search(r"^crimson 1, base:.* 0, ties 0$", end, re.MULTILINE)
    (choice,) = kept(taught)
    assert (choice.choice, choice.against) == ("it", taught.get("crimson").base.fingerprint)
    assert "crimson" not in talk.shown and "base:" not in talk.shown


def test_where_both_say_the_same_nobody_is_asked(taught: Registry, spawn: Spawn) -> None:
    talk = Talk(spawn("crimson", "--against", "red"))
    assert "0 pairs to choose between, 0 chosen before, 6 where both say the same" in talk.start
    assert "crimson and red are the same content" in (end := talk.end())
    assert "crimson 0, red 0, ties 0" in end
    assert talk.process.ended() == 0
    assert kept(taught) == []


def test_nobody_is_asked_without_a_terminal(taught: Registry, lftreg: Lftreg) -> None:
    words = ("eval", "crimson", "--blind", "--suite", "desk.jsonl")
    done = lftreg(*words, code=2)
    assert "--blind asks a person" in done.err and done.out == ""
    assert "run it at a terminal" in done.err
    error = lftreg(*words, "--json", code=2).error
    assert (error["code"], error["hint"]) == ("usage", "run it without --json")
    error = lftreg("eval", "crimson", "blue", "--blind", "--suite", "desk.jsonl", "--json", code=2).error
    assert "--blind takes one adapter" in error["message"]
    assert kept(taught) == []
