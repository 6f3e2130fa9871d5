"""Formulas against tables, libraries and each other; `test_calibration.py` draws thousands of evaluations."""

from __future__ import annotations

import math
import sys
from itertools import product
from typing import Any

import numpy as np
import pytest
import scipy.stats

from lftreg.errors import Unavailable
from lftreg.evaluation import statistics
from lftreg.evaluation.statistics import (
    ENOUGH,
    GROUPED,
    GROUPS,
    adjust,
    auc,
    compare,
    holm,
    single,
    wilson,
)
from lftreg.plugins.types import Measured

RANDOM = np.random.default_rng(3)


def measured(values: Any, total: Any = None, **more: Any) -> Measured:
    return Measured(tuple(None if v is None else float(v) for v in values), total, **more)


def as_total(values: Any) -> Measured:
    """A mean that is not known to be one."""
    array = np.asarray(values, float)
    return measured(values, lambda places: float(array[places].mean()))


@pytest.mark.parametrize("n", [2, 7, 50, 399])
def test_a_mean_gets_the_paired_t(n: int) -> None:
    base, adapter = RANDOM.normal(0, 1, n), RANDOM.normal(0.3, 2, n)
    found = compare(measured(base), measured(adapter))
    known = scipy.stats.ttest_rel(adapter, base)
    assert found.p == pytest.approx(known.pvalue, rel=1e-9)
    assert found.ci95 == pytest.approx(tuple(known.confidence_interval(0.95)), rel=1e-9)
    assert found.n == n
    assert (found.base, found.adapter) == pytest.approx((base.mean(), adapter.mean()))
    assert found.delta == pytest.approx(adapter.mean() - base.mean())


@pytest.mark.parametrize("n", [2, 7, 50, GROUPED])
def test_the_jackknife_of_a_mean_is_the_paired_t(n: int) -> None:
    base, adapter = RANDOM.normal(0, 1, n), RANDOM.normal(0.3, 2, n)
    items, totals = (
        compare(measured(base), measured(adapter)),
        compare(as_total(base), as_total(adapter)),
    )
    for name in ("p", "ci95", "mde", "delta"):
        assert getattr(totals, name) == pytest.approx(getattr(items, name), rel=1e-9)
    alone = single(as_total(adapter)).ci95
    assert alone == pytest.approx(single(measured(adapter)).ci95, rel=1e-9)


@pytest.mark.parametrize("n", [GROUPED + 1, 1000, 1111])
def test_many_items_are_left_out_in_groups_with_nearly_the_same_interval(n: int) -> None:
    base, adapter = RANDOM.normal(0, 1, n), RANDOM.normal(0.3, 2, n)
    calls = 0

    def total(values: Any) -> Any:
        def score(places: Any) -> float:
            nonlocal calls
            calls += 1
            return float(values[places].mean())

        return score

    items = compare(measured(base), measured(adapter))
    totals = compare(measured(base, total(base)), measured(adapter, total(adapter)))
    assert calls == 2 * (GROUPS + 1) + 2
    assert totals.delta == pytest.approx(items.delta)
    width, known = (interval[1] - interval[0] for interval in (totals.ci95, items.ci95) if interval)
    assert width == pytest.approx(known, rel=0.15)  # 200 groups know a spread to within a twentieth


def test_only_items_with_a_value_on_both_sides_count() -> None:
    base = measured([1, None, 3, 4, float("nan"), 6])
    adapter = measured([2, 5, None, 5, 1, 9])
    found = compare(base, adapter)
    assert (found.n, found.base, found.adapter) == (3, pytest.approx(11 / 3), pytest.approx(16 / 3))
    assert found.p == pytest.approx(scipy.stats.ttest_rel([2, 5, 9], [1, 4, 6]).pvalue)


def test_a_total_is_of_the_items_that_count() -> None:
    asked: list[list[int]] = []

    def total(places: Any) -> float:
        asked.append([int(place) for place in places])
        return float(len(places))

    compare(measured([1, None, 2, 3], total), measured([1, 2, None, 3], total))
    assert {number for places in asked for number in places} == {0, 3}
    asked.clear()
    assert compare(measured([None] * 4, total), measured([None] * 4, total)).n == 4  # it has totals only


def test_items_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="2 items beside 3"):
        compare(measured([1, 2]), measured([1, 2, 3]))


def test_without_items_nothing_is_said() -> None:
    for found in (compare(measured([]), measured([])), compare(measured([None]), measured([1]))):
        assert (found.n, found.base, found.delta, found.ci95, found.p, found.mde) == (0, *[None] * 5)
        assert found.winner is None
    assert single(measured([None])) == statistics.Single(0, None, None)


def test_one_item_has_a_difference_and_no_interval() -> None:
    found = compare(measured([0.2]), measured([0.7]))
    assert (found.n, found.delta, found.ci95, found.p, found.mde) == (1, pytest.approx(0.5), None, None, None)
    assert single(measured([0.7])) == statistics.Single(1, 0.7, None)


@pytest.mark.parametrize("make", [measured, as_total])
def test_items_that_do_not_differ_have_no_difference(make: Any) -> None:
    values = RANDOM.normal(0, 1, 60)
    found = compare(make(values), make(values))
    assert (found.delta, found.ci95, found.p, found.mde) == (0, (0, 0), 1.0, None)
    assert found.winner is None


@pytest.mark.parametrize("make", [measured, as_total])
@pytest.mark.parametrize("n", [4, 60])
def test_items_that_all_differ_by_the_same_have_the_p_value_of_their_signs(make: Any, n: int) -> None:
    """Of all 2**n ways to swap base and adapter, two are as far apart as what was seen."""
    values = RANDOM.normal(0, 1, n)
    found = compare(make(values), make(values + 0.1))
    signs = [abs(sum(way)) == n for way in product((-1, 1), repeat=4)]
    assert found.p == (sum(signs) / len(signs) if n == 4 else 2 / 2**60)
    assert found.ci95 == pytest.approx((0.1, 0.1))
    assert found.mde is None
    assert found.winner == ("adapter" if n == 60 else None)


@pytest.mark.parametrize("n", [5, 60, 104])
def test_all_right_is_no_proof_that_the_next_will_be(n: int) -> None:
    """From none right to all right: the interval is near the exact one of n successes in n trials."""
    found = compare(measured([0] * n), measured([1] * n))
    assert found.ci95 is not None
    exact = scipy.stats.binomtest(n, n).proportion_ci(0.95, "exact").low
    assert found.ci95 == (pytest.approx(exact, abs=1 / n), 1.0)
    assert found.ci95[0] < 1
    lost = compare(measured([1] * n), measured([0] * n))
    assert lost.ci95 == (-1.0, pytest.approx(-found.ci95[0]))
    same = compare(measured([1] * n), measured([1] * n))
    assert same.ci95 is not None
    assert (same.delta, same.p) == (0, 1.0)
    assert same.ci95[0] == -same.ci95[1] < 0
    assert same.mde is not None


def test_an_interval_of_shares_stays_among_them() -> None:
    found = compare(measured([0] * 60), measured([1] * 59 + [0]))
    assert found.ci95 is not None
    assert found.ci95[1] == 1.0


def test_an_infinite_score_wins_nothing() -> None:
    found = compare(measured([1.0] * 60), measured([2.0] * 59 + [math.inf]))
    assert (found.adapter, found.delta) == (math.inf, math.inf)
    assert (found.ci95, found.p, found.mde, found.winner) == (None, None, None, None)
    both = compare(measured([math.inf] * 2), measured([math.inf] * 2))
    assert (both.ci95, both.p) == (None, None)
    assert single(measured([1.0, math.inf])) == statistics.Single(2, math.inf, None)


def test_a_total_that_fails_on_some_of_the_items_has_no_interval() -> None:
    def total(places: Any) -> float:
        return 1.0 if 0 in places else math.nan

    values = [1.0] * 60
    found = compare(measured(values, total), measured(values, total))
    assert (found.delta, found.ci95, found.p) == (0, None, None)
    assert single(measured(values, total)).ci95 is None
    nothing = compare(measured(values, lambda places: math.nan), measured(values, total))
    assert (nothing.base, nothing.delta, nothing.p) == (None, None, None)


def far_apart(n: int) -> tuple[Measured, Measured]:
    values = RANDOM.normal(0, 1, n)
    return measured(values), measured(values + RANDOM.normal(3, 1, n))


def test_nobody_wins_with_few_items() -> None:
    assert compare(*far_apart(ENOUGH)).winner == "adapter"
    few = compare(*far_apart(ENOUGH - 1))
    assert few.p is not None
    assert few.p < 1e-9
    assert few.winner is None


def test_the_winner_is_who_is_better_in_the_sense_of_the_metric() -> None:
    less, more = far_apart(60)
    assert compare(less, more, "higher").winner == "adapter"
    assert compare(less, more, "lower").winner == "base"
    assert compare(more, less, "higher").winner == "base"
    assert compare(more, less, "lower").winner == "adapter"
    assert compare(less, more, None).winner is None


def test_a_metric_that_cannot_be_trusted_here_names_no_winner() -> None:
    less, more = far_apart(60)
    doubted = Measured(more.values, measurable=False)
    assert compare(less, doubted).winner is None


def test_a_test_of_the_metrics_own_decides() -> None:
    less, more = far_apart(60)
    assert compare(less, more, p_value=0.05).winner is None
    decided = compare(less, more, p_value=0.049)
    assert (decided.p, decided.winner) == (0.049, "adapter")


def test_several_adapters_share_the_doubt() -> None:
    less, more = far_apart(60)
    alone = [compare(less, more, p_value=p) for p in (0.02, 0.04, 0.9)]
    assert [found.winner for found in alone] == ["adapter", "adapter", None]
    together = adjust(alone)
    assert [found.adjusted for found in together] == [pytest.approx(0.06), pytest.approx(0.08), 0.9]
    assert [found.winner for found in together] == [None, None, None]
    assert [found.p for found in together] == [0.02, 0.04, 0.9]


@pytest.mark.parametrize("count", [1, 2, 5, 30])
def test_holm_is_the_same_as_by_its_definition(count: int) -> None:
    """Rejected at a level, step by step, exactly where the adjusted value is not above it."""
    given = list(RANDOM.random(count) ** 3)
    adjusted = holm(given)
    for level in (0.01, 0.05, 0.2, 0.5):
        rejected = set()
        for rank, place in enumerate(sorted(range(count), key=given.__getitem__)):
            if given[place] > level / (count - rank):
                break
            rejected.add(place)
        assert {place for place, p in enumerate(adjusted) if p is not None and p <= level} == rejected


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([]) == []
    assert holm([None, 0.03, None]) == [None, 0.03, None]
    assert holm([0.5, None, 0.02]) == [0.5, None, 0.04]
    assert holm([0.9, 0.8]) == [1.0, 1.0]


@pytest.mark.parametrize(("wins", "n"), [(0, 1), (1, 1), (3, 10), (50, 50), (7, 200)])
def test_the_interval_of_a_share_is_wilsons(wins: int, n: int) -> None:
    known = scipy.stats.binomtest(wins, n).proportion_ci(0.95, "wilson")
    assert wilson(wins, n) == pytest.approx((known.low, known.high), abs=1e-12)
    alone = single(measured([1] * wins + [0] * (n - wins)))
    assert alone == statistics.Single(n, pytest.approx(wins / n), wilson(wins, n))


def test_no_trial_says_nothing_and_a_tie_is_half_a_win() -> None:
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(4.5, 10)[0] > wilson(4, 10)[0]


def test_auc_counts_ties_as_half() -> None:
    assert auc([2, 3], [0, 1]) == 1.0
    assert auc([0, 1], [2, 3]) == 0.0
    assert auc([1, 1], [1]) == 0.5
    assert auc([], [1]) is None
    assert auc([1], []) is None
    positive, negative = RANDOM.integers(0, 6, 40), RANDOM.integers(1, 8, 25)
    known = scipy.stats.mannwhitneyu(positive, negative).statistic / (40 * 25)
    assert auc(positive.tolist(), negative.tolist()) == pytest.approx(known)


def binary(discordant: float, n: int) -> tuple[Measured, Measured]:
    """n right-or-wrong items of which this share differs, half of it each way."""
    half = round(n * discordant / 2)
    rest = n - 2 * half
    return measured([1] * half + [0] * half + [1] * rest), measured([0] * half + [1] * half + [1] * rest)


@pytest.mark.parametrize(("discordant", "points"), [(1 / 3, {50: 23, 200: 11}), (1 / 2, {50: 28, 200: 14})])
def test_what_can_be_seen_with_so_many_items(discordant: float, points: dict[int, int]) -> None:
    """A half of the items differs where base and adapter are right on halves that are independent."""
    for n, expected in points.items():
        mde = compare(*binary(discordant, n)).mde
        assert mde is not None
        assert 100 * mde == pytest.approx(expected, abs=1)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scipy.special", None)
    with pytest.raises(Unavailable, match="scoring answers needs the scipy package") as caught:
        compare(*far_apart(60))
    assert (caught.value.exit_code, caught.value.hint) == (5, "pip install 'lftreg[eval]'")
