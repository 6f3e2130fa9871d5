"""Kept scores as `show` tells them: the most telling one, and how many there are beside it."""

from __future__ import annotations

import re

from lftreg.registry import Registry
from tests.cli.conftest import Lftreg, Publish
from tests.evaluation.test_leaderboard import record, values


def tables(text: str) -> list[str]:
    return re.findall(r"^evaluated on (\w+), ", text, re.MULTILINE)


def test_one_table_and_a_line_for_the_rest(lftreg: Lftreg, registry: Registry, publish: Publish) -> None:
    again = {"digest": publish("support").digest}
    record(registry, "a", values(0.6, n=120), **again, suite="inbox", facts={"answers_trained_on": 7})
    record(registry, "a", values(0.6), **again, suite_digest="6" * 64)
    for n in (7, 8):
        record(registry, "a", values(0.9, n=n), **again, suite="trial", suite_digest=str(n) * 64)
    text = lftreg("show", "support").out
    assert tables(text) == ["inbox"]
    assert "answers that stand in the training data: 7 of 120" in text
    assert "and 1 more evaluation and 2 smaller trials of under 50 items: -v shows them" in text
    whole = lftreg("show", "support", "-v").out
    assert tables(whole) == ["inbox", "desk", "trial", "trial"] and "-v shows" not in whole
    assert "8 items are too few to name a winner: 50 or more are needed" in whole
    assert len(lftreg("show", "support", "--json").document["scores"]) == 4


def test_a_trial_alone_is_shown(lftreg: Lftreg, registry: Registry, publish: Publish) -> None:
    record(registry, "a", values(0.9, n=7), digest=publish("support").digest, suite="trial")
    text = lftreg("show", "support").out
    assert tables(text) == ["trial"] and "-v shows" not in text
    assert "7 items are too few to name a winner" in text
