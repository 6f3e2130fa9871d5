"""TIES (Yadav et al. 2023): keep the largest entries, let the majority choose a sign, average who agrees."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.composer.options import Density, Rank, Sign
from lftreg.plugins.types import Method


def ties(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    majority_sign_method: Sign = "total",
) -> None:
    model.add_weighted_adapter(
        list(adapters),
        list(weights),
        name,
        combination_type="ties",
        density=density,
        majority_sign_method=majority_sign_method,
    )


def ties_svd(
    model: Any,
    adapters: Sequence[str],
    weights: Sequence[float],
    name: str,
    *,
    density: Density = 0.5,
    majority_sign_method: Sign = "total",
    rank: Rank | None = None,
) -> None:
    model.add_weighted_adapter(
        list(adapters),
        list(weights),
        name,
        combination_type="ties_svd",
        density=density,
        majority_sign_method=majority_sign_method,
        svd_rank=rank,
        svd_full_matrices=False,  # PEFT's default computes what it then throws away, for hours
    )


METHODS = (
    Method(
        "ties",
        "TIES on the factors: small entries go, a majority chooses each sign.",
        ties,
        needs=("several-parents", "equal-ranks"),
        error="0.9, pruned per factor",
        cost="a few times cat",
    ),
    Method(
        "ties_svd",
        "TIES on the full update of every layer, cut back to a low rank.",
        ties_svd,
        needs=("several-parents",),
        error="about 0.5, less at a high rank",
        cost="an SVD a layer: hours at 7B",
    ),
)
