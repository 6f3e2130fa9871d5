"""Answers that do not end, and rows of which nothing is learned: both sides of every border."""

from __future__ import annotations

from typing import Any

import pytest

from lftreg.advice.diagnose import diagnose, is_healthy
from lftreg.advice.signals import Check, Point, Signals

RETRY = ("lftreg", "train", "--data", "./inbox.jsonl", "--name", "inbox", "--max-length", "256")
SETTINGS = {"rank": 16, "alpha": 32.0, "lr": 1e-3, "max_length": 256}


def signals(losses: list[float], norms: list[float | None] | None = None, **changes: Any) -> Signals:
    """A run of these losses that learned well, as far as nothing else is told."""
    told = norms if norms is not None else [1.0] * len(losses)
    points = tuple(
        Point(n, loss, 1e-3, norm) for n, (loss, norm) in enumerate(zip(losses, told, strict=True), 1)
    )
    found: dict[str, Any] = {
        "run": "inbox-1", "trainer": "lftreg", "status": "done", "points": points, "planned": len(losses),
        "settings": SETTINGS, "retry": RETRY,
    }  # fmt: skip
    return Signals(**found | changes)


LEARNED = [3.0 * 0.9**n for n in range(60)]


@pytest.mark.parametrize(
    ("ended", "told"),
    [
        (0.0, "0.0%"),
        (0.5, "50.0%"),
        (0.9, "90.0%"),
        (0.989, "98.9%"),
        (0.99, None),
        (1.0, None),
        (None, None),
    ],
)
def test_answers_that_do_not_end_are_told_below_99_percent(ended: float | None, told: str | None) -> None:
    checks = (Check(0, 3.0), Check(60, 0.1))
    found = diagnose(signals(LEARNED, checks=checks, facts={"ended": ended}))
    if told is None:
        assert found == ()
        return
    (first,) = found
    assert (first.name, first.severity) == ("never-stops", "bad")
    assert first.message.startswith(f"only {told} of the answers end in a stop token")
    assert first.mend == "lftreg data check ./inbox.jsonl"
    assert not is_healthy(found)


def test_answers_of_a_domain_are_looked_at_by_a_dry_run() -> None:
    found = diagnose(signals(LEARNED, facts={"ended": 0.2}, retry=("lftreg", "train", "support")))
    assert found[0].mend == "lftreg train support --dry-run"


def test_answers_that_do_not_end_are_the_cause_of_what_comes_after() -> None:
    flat = signals([3.0] * 60, facts={"ended": 0.2, "base_parameters": 10**7})
    assert diagnose(flat)[0].name == "never-stops"
    failed = signals(
        LEARNED[:5], status="failed", facts={"ended": 0.2}, error={"code": "bug", "message": "oh"}, planned=60
    )
    assert [one.name for one in diagnose(failed)][:2] == ["never-stops", "failed"]


@pytest.mark.parametrize(
    ("losses", "norms", "name"),
    [
        ([0.0] * 30, [0.0] * 30, "nothing-learned"),
        ([0.0] * 30, [None] * 30, "nothing-learned"),
        ([0.0] * 2, [0.0] * 2, "nothing-learned"),
        ([2.0] * 30, [0.0] * 30, "dead-adapter"),  # there is something to learn, and it does not arrive
        ([0.0] * 30, [float("nan")] * 30, "not-finite"),  # the 0 stands for no number
        ([float("nan")] * 30, [None] * 30, "not-finite"),
    ],
)
def test_a_loss_of_nothing_is_told_by_what_made_it(
    losses: list[float], norms: list[float | None], name: str
) -> None:
    found = diagnose(signals(losses, norms))
    assert [one.name for one in found] == [name]  # it is final: no other figure means anything
    assert not is_healthy(found)


@pytest.mark.parametrize(
    ("losses", "norms"),
    [
        ([0.0], [0.0]),  # a single line is too little to judge by
        ([0.0] * 29 + [0.1], [0.0] * 29 + [0.3]),  # a row in thirty is learned
        ([0.0] * 30, [0.0] * 29 + [0.2]),  # a gradient arrived
    ],
)
def test_what_learned_anything_is_not_told_as_nothing(losses: list[float], norms: list[float | None]) -> None:
    assert "nothing-learned" not in [one.name for one in diagnose(signals(losses, norms))]


def test_rows_of_which_nothing_is_learned_are_given_twice_the_length() -> None:
    (found,) = diagnose(signals([0.0] * 30, [0.0] * 30))
    assert found.mend == "lftreg train --data ./inbox.jsonl --name inbox --max-length 512"
    (found,) = diagnose(signals([0.0] * 30, [0.0] * 30, trainer="transformers", settings={}, retry=()))
    assert found.mend == "SFTConfig(max_length=2048)"
