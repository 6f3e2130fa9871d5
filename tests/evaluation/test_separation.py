from __future__ import annotations

import numpy as np
import pytest

from lftreg.evaluation.separation import auc


def test_an_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    draw = np.random.default_rng(0)
    high, low = draw.integers(0, 6, 40) + 1, draw.integers(0, 6, 30)
    pairs = [(one > other) + 0.5 * (one == other) for one in high for other in low]
    assert auc(high, low) == pytest.approx(np.mean(pairs))
    assert auc(low, high) == pytest.approx(1 - np.mean(pairs))


def test_the_ends_and_the_middle_of_an_auc() -> None:
    assert auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1.0
    assert auc(np.array([0.0]), np.array([1.0])) == 0.0
    assert auc(np.ones(5), np.ones(7)) == 0.5


def test_one_kind_alone_has_no_auc() -> None:
    with pytest.raises(ValueError, match="both kinds"):
        auc(np.array([]), np.array([1.0]))
