"""Magnitude pruning: keep the largest entries of every parent, then add."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.composer.options import Density, Rank
from lftreg.plugins.types import Method


def magnitude_prune(
    model: Any, adapters: Sequence[str], weights: Sequence[float], name: str, *, density: Density = 0.5
) -> None:
    model.add_weighted_adapter(
        list(adapters), list(weights), name, combination_type="magnitude_prune", density=density
    )


def magnitude_prune_svd(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    rank: Rank | None = None,
) -> None:
    model.add_weighted_adapter(
        list(adapters),
        list(weights),
        name,
        combination_type="magnitude_prune_svd",
        density=density,
        svd_rank=rank,
        svd_full_matrices=False,
    )


METHODS = (
    Method(
        "magnitude_prune",
        "The largest entries of the factors, added.",
        magnitude_prune,
        needs=("several-parents", "equal-ranks"),
        error="0.9, pruned per factor",
        cost="as cat",
    ),
    Method(
        "magnitude_prune_svd",
        "The largest entries of the full update of every layer, added and cut back to a low rank.",
        magnitude_prune_svd,
        needs=("several-parents",),
        error="about 0.5, less at a high rank",
        cost="an SVD a layer: hours at 7B",
    ),
)
