"""DARE (Yu et al. 2023): drop entries by lot, scale up the rest. The seed decides the lots."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from lftreg.composer.options import Density, Rank, Seed, Sign
from lftreg.plugins.types import Method


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """PEFT draws from torch's global generator: it is seeded for this, and put back as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def dare_linear(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    seed: Seed = 0,
) -> None:
    with seeded(seed):
        model.add_weighted_adapter(
            list(adapters), list(weights), name, combination_type="dare_linear", density=density
        )


def dare_ties(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    majority_sign_method: Sign = "total",
    seed: Seed = 0,
) -> None:
    with seeded(seed):
        model.add_weighted_adapter(
            list(adapters),
            list(weights),
            name,
            combination_type="dare_ties",
            density=density,
            majority_sign_method=majority_sign_method,
        )


def dare_linear_svd(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    rank: Rank | None = None,
    seed: Seed = 0,
) -> None:
    with seeded(seed):
        model.add_weighted_adapter(
            list(adapters),
            list(weights),
            name,
            combination_type="dare_linear_svd",
            density=density,
            svd_rank=rank,
            svd_full_matrices=False,
        )


def dare_ties_svd(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    majority_sign_method: Sign = "total",
    rank: Rank | None = None,
    seed: Seed = 0,
) -> None:
    with seeded(seed):
        model.add_weighted_adapter(
            list(adapters),
            list(weights),
            name,
            combination_type="dare_ties_svd",
            density=density,
            majority_sign_method=majority_sign_method,
            svd_rank=rank,
            svd_full_matrices=False,
        )


METHODS = (
    Method(
        "dare_linear",
        "DARE on the factors: entries are dropped by lot, the rest scaled up and added.",
        dare_linear,
        needs=("several-parents", "equal-ranks"),
        error="2 and more, dropped per factor",
        cost="as cat",
    ),
    Method(
        "dare_ties",
        "DARE on the factors, then a majority chooses each sign.",
        dare_ties,
        needs=("several-parents", "equal-ranks"),
        error="2 and more, dropped per factor",
        cost="as cat",
    ),
    Method(
        "dare_linear_svd",
        "DARE on the full update of every layer, cut back to a low rank.",
        dare_linear_svd,
        needs=("several-parents",),
        error="about 0.7, less at a high density",
        cost="an SVD a layer: hours at 7B",
    ),
    Method(
        "dare_ties_svd",
        "DARE and sign election on the full update of every layer, cut back to a low rank.",
        dare_ties_svd,
        needs=("several-parents",),
        error="about 0.7, less at a high density",
        cost="an SVD a layer: hours at 7B",
    ),
)
