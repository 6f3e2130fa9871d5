"""Costs by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from lftreg.advice.cost import (
    FULL_BYTES,
    WHOLE,
    Machine,
    Traffic,
    Training,
    costs,
    full_fine_tuning,
    gpus_for,
    query,
    training_flops,
)
from lftreg.budget.time import break_even

# A base of 1000 parameters, an adapter of 100, 10 tokens: 10 x (4000 + 600) FLOPs in 46 s are 1000 FLOP/s.
RUN = Training(seconds=46.0, money=0.046, memory=5000, measured=True, base=1000, adapter=100, tokens=10)
# 2000 bytes a second: the 2 x 1100 bytes of its weights are read in 1.1 s.
MACHINE = Machine("mine", rate=1000.0, price=3.6, bandwidth=2000.0)
TRAFFIC = Traffic(prompt=5, answer=5, passage=20, top_k=2)


def test_flops_of_training() -> None:
    assert training_flops(1000, 100, 10) == 46_000


def test_full_fine_tuning_takes_six_flops_a_weight_and_sixteen_bytes() -> None:
    full = full_fine_tuning(RUN, MACHINE)
    assert full.seconds == pytest.approx(60)  # 10 tokens x 6 x 1000, at 1000 FLOP/s
    assert full.money == pytest.approx(0.06)  # $3.60 an hour are a tenth of a cent a second
    assert full.memory == 16_000
    assert (full.fits, full.gpus) == (None, None)  # nobody knows how much the machine holds


def test_an_8b_model_does_not_fit_a_gpu_of_80_gb_and_takes_two() -> None:
    usable = 74_000_000_000
    run = Training(3600, 4.0, None, False, 8_000_000_000, 40_000_000, 1_000_000, activations=4_000_000_000)
    full = full_fine_tuning(run, Machine("H100", 3e14, 4.0, usable=usable))
    assert full.memory == 8_000_000_000 * FULL_BYTES + 4_000_000_000 == 132_000_000_000
    assert (full.fits, full.gpus) == (False, 2)  # 128 GB of states, in pieces of 70
    alone = 3600 * 6 * 8e9 / (4 * 8e9 + 6 * 4e7)
    assert full.seconds == pytest.approx(alone / 2)
    assert full.money == pytest.approx(4.0 * alone / 3600)  # two GPUs for half of the time each


@pytest.mark.parametrize(
    ("parameters", "activations", "usable", "gpus"),
    [(100, 0, 1600, 1), (100, 0, 1599, 2), (100, 800, 1600, 2), (100, 1600, 1600, None), (1, 0, 1e9, 1)],
)
def test_how_many_gpus(parameters: int, activations: float, usable: float, gpus: int | None) -> None:
    assert gpus_for(parameters, activations, usable) == gpus


def test_a_prompt_waits_for_arithmetic_and_an_answer_for_memory() -> None:
    fast = replace(MACHINE, rate=100_000.0)
    found = query(1000, 50, 10, fast)
    assert found.reading == pytest.approx(1.0)  # 2 x 1000 x 50 / 100,000: as long as reading its weights
    assert query(1000, 500, 10, fast).reading == pytest.approx(10.0)
    assert found.writing == pytest.approx(
        10.0
    )  # ten times 2000 bytes at 2000 a second, not 0.2 s of arithmetic
    assert found.seconds == pytest.approx(11.0)
    assert found.money == pytest.approx(0.011)
    assert found.tokens == 60


def test_queries_at_once_share_the_reading_of_weights_until_arithmetic_counts() -> None:
    fast = replace(MACHINE, rate=100_000.0)
    assert query(1000, 50, 10, fast, at_once=4).writing == pytest.approx(2.5)
    assert query(1000, 50, 10, fast, at_once=4).reading == pytest.approx(1.0)
    assert query(1000, 50, 10, fast, at_once=1000).writing == pytest.approx(0.2)  # 2 x 1000 x 10 / 100,000


def test_a_weight_of_four_bytes_is_read_for_twice_as_long() -> None:
    fast = replace(MACHINE, rate=100_000.0)
    assert query(1000, 50, 10, replace(fast, weight=WHOLE)).writing == pytest.approx(20.0)


def test_what_a_query_takes_is_not_known_without_a_bandwidth() -> None:
    blind = replace(MACHINE, bandwidth=None)
    assert query(1000, 50, 10, blind).seconds is None
    found = costs(1000, 100, RUN, blind, TRAFFIC)
    assert (found.paid_back, found.break_even) == ((), None)


def test_passages_are_read_and_an_answer_is_as_long_with_them_as_without() -> None:
    found = costs(1000, 100, RUN, MACHINE, TRAFFIC)
    assert found.adapter.seconds == pytest.approx(
        22
    )  # 2 x 1100 x 10 / 1000: so slow a machine waits for arithmetic
    assert found.rag.tokens == 50  # 10 and two passages of 20
    assert found.rag.reading == pytest.approx(90)  # 2 x 1000 x 45 / 1000
    assert found.rag.writing == pytest.approx(10)
    assert found.break_even == 1  # 46 / (100 - 22) = 0.59


def test_a_load_that_was_not_told_is_told_at_both_ends() -> None:
    fast = replace(MACHINE, rate=100_000.0)
    long = replace(RUN, seconds=1000.0)
    found = costs(1000, 100, long, fast, Traffic(prompt=50, answer=2, passage=50, top_k=2))
    # One at a time: 1.1 and 2 x 1.1 s against 3 and 2 x 1; 64 at once: 1.1 and 2 x 0.022 against 3 and 2 x 0.02.
    assert [(one.at_once, one.queries) for one in found.paid_back] == [
        (1, math.ceil(1000 / (5 - 3.3))),
        (64, math.ceil(1000 / (3.04 - 1.144))),
    ]
    told = costs(1000, 100, long, fast, Traffic(50, 2, 50, 2, concurrency=4))
    assert [one.at_once for one in told.paid_back] == [4]


def test_it_may_never_pay_off_for_one_and_pay_off_for_many() -> None:
    fast = replace(MACHINE, rate=100_000.0)
    # Each of 50 tokens reads 200 bytes more for the adapter: 5 s, and 100 tokens of passages are read in 2.
    found = costs(1000, 100, RUN, fast, Traffic(prompt=50, answer=50, passage=50, top_k=2))
    assert [one.queries is None for one in found.paid_back] == [True, False]


def test_several_machines_are_paid_for_each() -> None:
    alone = costs(1000, 100, replace(RUN, seconds=46_000), MACHINE, TRAFFIC)
    four = costs(1000, 100, replace(RUN, seconds=46_000, machines=4), MACHINE, TRAFFIC)
    assert alone.break_even == 590  # 46,000 / 78 = 589.7
    assert four.break_even == 2359  # 4 x 46,000 / 78 = 2358.97


def test_what_saves_nothing_never_pays_off() -> None:
    short = Traffic(prompt=500, answer=500, passage=1, top_k=1)  # the adapter's own factors cost more
    assert costs(1000, 100, RUN, MACHINE, short).break_even is None
    assert costs(1000, 100, None, MACHINE, TRAFFIC).break_even is None
    assert break_even(1.0, 2.0, 2.0) is None
    assert break_even(1.0, 0.0, 5e-324) is None
    assert break_even(10.0, 1.0, 3.0) == 5
