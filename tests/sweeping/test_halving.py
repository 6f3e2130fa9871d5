"""Which trials go on."""

from __future__ import annotations

import math

from lftreg.objectives.rows import Row
from lftreg.sweeping.halving import going_on, rungs, some_of


def test_rungs_lie_at_an_eighth_a_quarter_and_a_half() -> None:
    assert rungs(96) == {12: 12, 25: 24, 50: 48}
    assert rungs(40) == {25: 10, 50: 20}  # an eighth of it is nothing to go by
    assert rungs(11) == {}


def test_trials_are_compared_on_rows_from_all_over_the_split() -> None:
    split = [Row((1,), (1,), number) for number in range(1, 129)]
    assert some_of(split[:7]) == split[:7]
    chosen = [row.number for row in some_of(split)]
    assert len(set(chosen)) == 32 and chosen == sorted(chosen)
    assert {(number - 1) // 32 for number in chosen} == {0, 1, 2, 3}
    assert {number % 4 for number in chosen} == {0, 1, 2, 3}  # whatever goes round in a file


def test_who_leaves_long_rows_out_has_most_of_them_in_common() -> None:
    split = [Row((1,), (1,), number) for number in range(1, 101)]
    whole = {row.number for row in some_of(split)}
    fewer = {row.number for row in some_of(split[:40] + split[44:])}
    assert len(whole & fewer) >= 28


def test_the_better_half_goes_on_and_three_at_least() -> None:
    losses = {number: float(number) for number in range(8)}
    assert going_on(losses, []) == {0, 1, 2, 3}
    assert going_on({0: 2.0, 1: 1.0, 2: 3.0, 3: 4.0}, []) == {0, 1, 2}


def test_a_cohort_is_measured_by_those_before_it() -> None:
    others = [0.1, 0.2, 0.3, 0.4]
    assert going_on({7: 9.0, 8: 0.15}, others) == {8}
    assert going_on({7: 9.0, 8: 8.0}, others) == set()


def test_what_is_no_number_goes_nowhere() -> None:
    assert going_on({0: math.nan, 1: math.inf, 2: 1.0}, []) == {2}
