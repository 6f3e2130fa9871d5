from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from scipy import stats

from lftreg.budget.time import break_even
from lftreg.evaluation.compare import choose
from lftreg.evaluation.costs import training_cost
from lftreg.evaluation.figures import interval
from lftreg.evaluation.suite import make_suite
from lftreg.plugins.types import Example
from lftreg.registry.records import Version
from tests.cli.conftest import RUN, Publish, publish  # noqa: F401 a fixture


def test_training_is_paid_after_as_many_queries_as_it_takes() -> None:
    # 2 dollars of training; a query costs 0.25 with the adapter and 0.75 with search: half a dollar saved, 4 queries
    assert break_even(2.0, 0.25, 0.75) == 4
    assert break_even(2.25, 0.25, 0.75) == 5, "a part of a query is a whole one"
    assert break_even(0.0, 0.25, 0.75) == 0
    assert break_even(2.0, 0.75, 0.75) is None
    assert break_even(2.0, 0.75, 0.25) is None


def test_what_training_cost_is_told_in_the_unit_of_the_queries(publish: Publish, tmp_path: Path) -> None:  # noqa: F811
    version = publish("support", run=replace(RUN, seconds=1800.0))
    assert training_cost(version, 3.0) == pytest.approx(1.5)
    assert training_cost(version, None) == 1800.0
    paid = replace(RUN, seconds=1800.0, settings={"cost": {"usd": 0.7, "price_per_hour": 1.4}})
    own: Version = publish("paid", seed=1, run=paid)
    assert training_cost(own, 3.0) == 0.7, "a run that knew its price is taken at that"
    assert training_cost(own, None) == 1800.0
    assert training_cost(publish("bought", seed=2, kind="imported"), 3.0) is None


def test_an_interval_is_student_s() -> None:
    values = numpy.random.default_rng(0).random(17).tolist()
    low, high = stats.t.interval(0.95, 16, loc=numpy.mean(values), scale=stats.sem(values))
    assert interval(values) == pytest.approx((low, high))
    assert interval([0.5]) is None
    assert interval([0.5, 0.5]) == (0.5, 0.5)


def test_an_interval_of_few_shares_holds_nothing_that_no_share_can_be() -> None:
    assert interval([0.0, 0.1, 0.9]) == (0.0, 1.0)
    low, high = interval([0.5, 0.6, 0.9]) or (0.0, 0.0)
    assert 0 < low < high == 1


def test_which_items_are_asked_follows_from_seed_and_question_alone() -> None:
    def items(count: int) -> tuple[Any, ...]:
        return make_suite("test", [Example.pair(f"Question {n}?", "x") for n in range(count)]).items

    ten = choose(items(100), 10, 0)
    assert len(ten) == 10 and ten == choose(items(100)[::-1], 10, 0)
    assert ten != choose(items(100), 10, 1)
    assert ten[:5] == choose(items(100), 5, 0)
    assert set(choose(items(100), None, 0)) == set(items(100))
    more = choose(items(110), 20, 0)
    assert [item for item in more if item in ten] == [item for item in ten if item in more]
