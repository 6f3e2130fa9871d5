"""Which trials go on."""

from __future__ import annotations

import math
from dataclasses import replace

from lftreg.sweeping.halving import going_on, rungs
from lftreg.training import Settings


def test_rungs_lie_at_an_eighth_a_quarter_and_a_half() -> None:
    settings = Settings(max_steps=96, batch_size=8)  # a run that validates every 19 steps
    assert rungs(settings, train=4000, validation=64) == {12: 12, 25: 24, 50: 48}
    assert rungs(replace(settings, max_steps=40), train=4000, validation=64) == {25: 10, 50: 20}
    assert rungs(replace(settings, max_steps=10), train=4000, validation=64) == {}


def test_a_validation_that_comes_soon_is_waited_for() -> None:
    """Sixty rows to judge are as much work as thirty to learn, four steps of eight."""
    settings = Settings(max_steps=200, batch_size=8)  # 25 steps a pass
    assert rungs(settings, train=200, validation=60) == {12: 25, 25: 50, 50: 100}
    assert rungs(replace(settings, max_steps=220), train=200, validation=60) == {12: 27, 25: 55, 50: 110}
    assert rungs(replace(settings, max_steps=190), train=200, validation=60) == {12: 25, 25: 50, 50: 95}


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
