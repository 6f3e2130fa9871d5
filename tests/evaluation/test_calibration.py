"""Intervals, winners and detectable effects do what they promise, over thousands of evaluations."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import scipy.stats

from lftreg.evaluation.metrics.loss import perplexity
from lftreg.evaluation.metrics.translation import METRICS as TRANSLATION
from lftreg.evaluation.statistics import ENOUGH, GROUPED, adjust, compare, single
from lftreg.plugins.types import Measured, Outputs

DRAWS = 3000  # a share of 95 % is then known to within 0.8 points, twice its standard error
Generator = np.random.Generator
Pair = tuple[Measured, Measured]
Draw = Callable[[Generator, int], Pair]


def measured(values: Any) -> Measured:
    return Measured(tuple(values.tolist()))


def normal(random: Generator, n: int, effect: float = 0.0) -> Pair:
    """Item scores that hang together, as they do where some items are harder for everybody."""
    hard = random.normal(0, 1, n)
    return measured(hard + random.normal(0, 1, n)), measured(hard + random.normal(effect, 1, n))


def binary(random: Generator, n: int, base: float = 0.4, adapter: float = 0.55) -> Pair:
    """Right or wrong, with half of the items decided by one draw for both."""
    one, other = random.random(n), random.random(n)
    shared = random.random(n) < 0.5
    other = np.where(shared, one, other)
    return measured((one < base).astype(float)), measured((other < adapter).astype(float))


def skewed(random: Generator, n: int) -> Pair:
    """Exponential scores: most are small, a few are large."""
    return measured(random.exponential(1.0, n)), measured(random.exponential(1.5, n))


def losses(random: Generator, n: int) -> Pair:
    """Perplexities of texts of 1 to 60 tokens, of which the long ones are easier."""
    tokens = random.integers(1, 61, n)
    hard = random.normal(0, 0.3, n)

    def speaker(nats: float) -> Measured:
        rate = np.exp(nats + hard + random.normal(0, 0.3, n)) * (1 + 3 / tokens)
        lost = tuple((rate * tokens).tolist())
        texts = ("x",) * n
        return perplexity(Outputs(texts, texts, texts, texts, nats=lost, tokens=tuple(tokens.tolist())))

    return speaker(0.5), speaker(0.4)


def truth_of_losses() -> float:
    """exp of the expected nats over the expected tokens: each rate is lognormal, with a variance of 2 * 0.09."""
    tokens = np.arange(1, 61)
    first, second = (np.exp((np.exp(m + 0.09) * (tokens + 3)).mean() / tokens.mean()) for m in (0.5, 0.4))
    return float(second - first)


def covered(draw: Draw, truth: float, n: int, draws: int, seed: int) -> float:
    """How often the interval of a difference holds the true one."""
    random = np.random.default_rng(seed)
    held = 0
    for _ in range(draws):
        interval = compare(*draw(random, n)).ci95
        assert interval is not None
        held += interval[0] <= truth <= interval[1]
    return held / draws


@pytest.mark.parametrize("n", [ENOUGH, 200])
@pytest.mark.parametrize(
    ("draw", "truth"),
    [(partial(normal, effect=0.2), 0.2), (binary, 0.15), (skewed, 0.5)],
    ids=["normal", "binary", "skewed"],
)
def test_an_interval_of_items_holds_the_truth_95_times_of_100(draw: Draw, truth: float, n: int) -> None:
    assert 0.93 <= covered(draw, truth, n, DRAWS, seed=5) <= 0.97


@pytest.mark.slow
@pytest.mark.parametrize(("n", "draws"), [(ENOUGH, 2000), (GROUPED + 100, 1000)])
def test_an_interval_of_perplexities_holds_the_truth_95_times_of_100(n: int, draws: int) -> None:
    assert 0.93 <= covered(losses, truth_of_losses(), n, draws, seed=6) <= 0.97


def pairs(size: int) -> tuple[list[str], list[str], list[str]]:
    """References, and two speakers' answers that keep more or less of them."""
    random = np.random.default_rng(7)
    vocabulary = np.array([f"word{number}" for number in range(200)])
    references = [vocabulary[random.integers(0, 200, random.integers(5, 25))] for _ in range(size)]

    def answers(kept: float) -> list[str]:
        said = []
        for text in references:
            keep = random.random(len(text)) < np.clip(kept + random.normal(0, 0.1), 0, 1)
            said.append(" ".join(np.where(keep, text, vocabulary[random.integers(0, 200, len(text))])))
        return said

    return [" ".join(text) for text in references], answers(0.75), answers(0.8)


@pytest.mark.slow
@pytest.mark.parametrize("metric", TRANSLATION, ids=lambda metric: metric.name)
def test_an_interval_of_a_corpus_score_holds_the_truth_95_times_of_100(metric: Any) -> None:
    """Suites are drawn from a pool of sentences, whose own difference is the truth."""
    references, one, other = (tuple(texts) for texts in pairs(4000))
    base, adapter = (metric.measure(Outputs(references, references, said, one)) for said in (one, other))
    truth = adapter.total(np.arange(4000)) - base.total(np.arange(4000))

    def of(whole: Measured, places: Any) -> Measured:
        assert whole.total is not None
        total = whole.total
        return Measured(tuple(np.array(whole.values)[places].tolist()), lambda some: total(places[some]))

    def draw(random: Generator, n: int) -> Pair:
        places = random.integers(0, 4000, n)
        return of(base, places), of(adapter, places)

    assert 0.93 <= covered(draw, truth, ENOUGH, 2000, seed=8) <= 0.97


@pytest.mark.parametrize("n", [ENOUGH, 200])
def test_an_interval_of_one_share_holds_the_truth_95_times_of_100(n: int) -> None:
    """Exactly, from the chances of every count: of any one share nearly, and 95 of 100 over all of them."""
    intervals = [single(measured((np.arange(n) < wins).astype(float))).ci95 for wins in range(n + 1)]
    held = []
    for share in np.linspace(0.05, 0.95, 181):
        chances = scipy.stats.binom.pmf(np.arange(n + 1), n, share)
        inside = [interval is not None and interval[0] <= share <= interval[1] for interval in intervals]
        held.append(chances[inside].sum())
    assert min(held) > 0.91
    assert np.mean(held) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("kind", ["normal", "binary", "rarely different"])
def test_adapters_that_change_nothing_seldom_win(kind: str) -> None:
    """Three adapters as good as the base: in 5 of 100 evaluations at most one of them wins or loses."""
    random = np.random.default_rng(10)
    named = naive = 0
    for _ in range(DRAWS):
        if kind == "normal":
            base, *adapters = (measured(random.normal(0, 1, 60)) for _ in range(4))
        else:
            right = random.random(60) < 0.5
            often = 0.5 if kind == "binary" else 0.1
            told = [np.where(random.random(60) < often, random.random(60) < 0.5, right) for _ in range(4)]
            base, *adapters = (measured(row.astype(float)) for row in told)
        alone = [compare(base, adapter) for adapter in adapters]
        naive += any(found.winner for found in alone)
        named += any(found.winner for found in adjust(alone))
    assert 0.01 < named / DRAWS <= 0.05
    assert naive > 1.5 * named  # so that it is Holm that holds it


@pytest.mark.parametrize("n", [ENOUGH, 200])
def test_a_difference_of_the_stated_size_is_found_80_times_of_100(n: int) -> None:
    random = np.random.default_rng(11)
    exact = random.normal(0, 1, n)
    exact = (exact - exact.mean()) / exact.std(ddof=1) * np.sqrt(2)  # the spread that `normal` draws from
    mde = compare(measured(exact * 0), measured(exact)).mde
    assert mde is not None
    found = sum(compare(*normal(random, n, mde)).winner == "adapter" for _ in range(DRAWS))
    assert found / DRAWS == pytest.approx(0.80, abs=0.03)


def test_a_large_suite_takes_no_longer_than_a_small_one() -> None:
    """A group is left out at a time, so a total is asked for 200 times at most."""
    random = np.random.default_rng(12)
    pair = losses(random, 20_000)
    started = time.perf_counter()
    assert compare(*pair, "lower").winner == "adapter"
    assert time.perf_counter() - started < 3
