"""The best low rank from factors, against a full SVD of the full matrix in float64."""

from __future__ import annotations

import numpy as np
import pytest

from lftreg.composer.factors_engine import smallest_rank
from lftreg.composer.layers import Pair, grams_of
from lftreg.composer.lowrank import EXACT_UP_TO, Spectrum, cut, decompose

Array = np.ndarray


def dense(pair: Pair) -> Array:
    c = np.ones(pair.rank) if pair.c is None else pair.c
    made: Array = pair.b.astype(np.float64) @ (c[:, None] * pair.a.astype(np.float64))
    return made


def random_pair(rank: int, outputs: int = 120, inputs: int = 90, seed: int = 0) -> Pair:
    dice = np.random.default_rng(seed)
    b = dice.standard_normal((outputs, rank)).astype(np.float32)
    a = dice.standard_normal((rank, inputs)).astype(np.float32)
    return Pair(b, a, dice.standard_normal(rank))


def lost(matrix: Array, rank: int) -> float:
    """What the best matrix of a rank loses, relative."""
    s = np.linalg.svd(matrix, compute_uv=False)
    return float(np.sqrt((s[rank:] ** 2).sum() / (s**2).sum()))


@pytest.mark.parametrize("rank", [1, 7, 16, 31])
@pytest.mark.parametrize("unbalanced", [1.0, 1e6, 1e-6])
def test_the_error_is_the_least_and_was_foretold(rank: int, unbalanced: float) -> None:
    pair = random_pair(32)
    pair.b[:, :9] *= np.float32(unbalanced)
    pair.a[:9] /= np.float32(unbalanced)
    whole = dense(pair)
    made, spectrum = cut(pair, rank, "layer")
    true = float(np.linalg.norm(dense(made) - whole) / np.linalg.norm(whole))
    assert made.rank == rank
    assert true == pytest.approx(lost(whole, rank), abs=1e-6)
    assert float(np.sqrt(spectrum.lost(rank) / spectrum.energy)) == pytest.approx(true, abs=1e-6)


def test_parents_that_share_directions_cost_nothing() -> None:
    pair = random_pair(16)
    twice = Pair(np.hstack([pair.b, pair.b]), np.vstack([pair.a, pair.a]), np.full(32, 0.5))
    made, spectrum = cut(twice, 16, "layer")
    once = dense(Pair(pair.b, pair.a))
    assert np.linalg.norm(dense(made) - once) <= 1e-6 * np.linalg.norm(once)
    assert spectrum.values[16:].max() <= 1e-7 * spectrum.values[0]


def test_a_dead_row_and_a_layer_of_zeros() -> None:
    pair = random_pair(8)
    pair.a[3] = 0
    pair.b[:, 5] = 0
    made, _ = cut(pair, 8, "layer")
    assert np.linalg.norm(dense(made) - dense(pair)) <= 1e-6 * np.linalg.norm(dense(pair))
    nothing, spectrum = cut(Pair(np.zeros_like(pair.b), pair.a, pair.c), 4, "layer")
    assert not dense(nothing).any()
    assert spectrum.energy == 0


def test_a_sketch_is_near_the_best_and_measures_what_it_lost() -> None:
    dice = np.random.default_rng(1)
    rank = EXACT_UP_TO + 88
    pair = Pair(
        dice.standard_normal((900, rank)).astype(np.float32),
        dice.standard_normal((rank, 800)).astype(np.float32),
        dice.standard_normal(rank),
    )
    whole = dense(pair)
    made, spectrum = cut(pair, 16, "layer")
    true = float(np.linalg.norm(dense(made) - whole) / np.linalg.norm(whole))
    assert true <= 1.005 * lost(whole, 16)
    assert float(np.sqrt(spectrum.lost(16) / spectrum.energy)) == pytest.approx(true, rel=1e-4)
    again, _ = cut(pair, 16, "layer")
    assert np.array_equal(again.b, made.b)
    assert np.array_equal(again.a, made.a)


def test_the_least_rank_that_loses_so_much() -> None:
    pairs = [random_pair(24, seed=seed) for seed in range(3)]
    spectra = [decompose(grams_of(p.b, p.a), p.c).spectrum for p in pairs if p.c is not None]
    rank = smallest_rank(spectra, 0.3)

    def off(rank: int) -> float:
        squares = [(np.linalg.svd(dense(p), compute_uv=False)) ** 2 for p in pairs]
        return float(np.sqrt(sum(s[rank:].sum() for s in squares) / sum(s.sum() for s in squares)))

    assert off(rank) <= 0.3 < off(rank - 1)
    assert smallest_rank(spectra, 0.0) == 24
    assert smallest_rank([Spectrum(np.array([2.0, 1e-9]), 4.0)], 0.0) == 1
