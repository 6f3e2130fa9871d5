from __future__ import annotations

import random

import pytest

from lftreg.evaluation.evaluate import Asked
from lftreg.evaluation.hearing import Side
from lftreg.evaluation.preferences import Pair, keep, made_before, pairs, tally
from lftreg.evaluation.suite import make_suite
from lftreg.models.answers import Decoding
from lftreg.plugins.types import Example
from lftreg.registry import Registry

SUITE = make_suite("desk", [Example.pair(f"q{n}", "r") for n in range(6)])
IT, OTHER = Side("support@1", "a" * 64), Side("base:starter", "f" * 64)


def test_a_choice_says_whose_answer_was_taken_whatever_the_order() -> None:
    ahead, behind = Pair(0, "q", ("mine", "theirs"), True), Pair(0, "q", ("theirs", "mine"), False)
    assert [ahead.choice(place) for place in (0, 1, None)] == ["it", "other", "tie"]
    assert [behind.choice(place) for place in (0, 1, None)] == ["other", "it", "tie"]


def test_sides_are_drawn_and_each_answer_stays_with_whom_it_is_from() -> None:
    mine, theirs = [f"mine {n}" for n in range(6)], [f"theirs {n}" for n in range(6)]
    made = [
        pair for seed in range(50) for pair in pairs(SUITE, mine, theirs, frozenset(), random.Random(seed))
    ]
    for pair in made:
        taken = next(place for place in (0, 1) if pair.choice(place) == "it")
        assert pair.answers[taken] == mine[pair.item]
    assert 0.4 < sum(pair.first_is_it for pair in made) / len(made) < 0.6


def test_what_was_judged_and_where_both_say_the_same_is_not_asked() -> None:
    mine, theirs = ["x", "a", "b", "c", "d", "e"], ["x ", "A", "B", "C", "D", "E"]
    left = pairs(SUITE, mine, theirs, frozenset([1, 2]), random.Random(0))
    assert sorted(pair.item for pair in left) == [3, 4, 5]


def test_choices_are_found_again_for_this_suite_and_decoding_only(registry: Registry) -> None:
    asked = Asked()
    for item, choice in ((0, "it"), (1, "other"), (0, "tie")):
        keep(registry, IT, OTHER, SUITE, asked, item, choice)  # type: ignore[arg-type]
    found = made_before(registry, IT, OTHER, SUITE, asked)
    assert {one.item: one.choice for one in found} == {0: "tie", 1: "other"}  # the last word counts
    longer = Asked(decoding=Decoding(max_tokens=7))
    assert made_before(registry, IT, OTHER, SUITE, longer) == []
    assert made_before(registry, IT, OTHER, make_suite("desk", [Example.pair("q", "r")]), asked) == []
    assert made_before(registry, OTHER, IT, SUITE, asked) == []


def test_a_tally_leaves_ties_out_of_the_share() -> None:
    found = tally(["it"] * 30 + ["other"] * 10 + ["tie"] * 5)
    assert (found.it, found.other, found.ties, found.share) == (30, 10, 5, 0.75)
    assert found.ci95 is not None and found.p is not None
    low, high = found.ci95
    # Wilson's interval by hand: z = 1.959964, n = 40, share 0.75.
    assert (low, high) == pytest.approx((0.5981, 0.8581), abs=1e-4)
    assert found.p < 0.01
    assert tally([]).share is tally(["tie"]).p is None
