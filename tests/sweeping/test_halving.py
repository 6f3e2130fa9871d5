"""Which trials go on."""

from __future__ import annotations

import math

from lftreg.sweeping.halving import going_on, rungs


def test_rungs_are_validations_of_the_whole_run() -> None:
    assert rungs(200, 25) == {12: 25, 25: 50, 50: 100}
    assert rungs(40, 100) == {25: 10, 50: 20}  # one validation, one decision
    assert rungs(10, 100) == {}


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
