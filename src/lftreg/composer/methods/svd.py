"""svd: the weighted sum at a chosen rank, as near as any adapter of that rank can be.

PEFT builds the full update of every layer and decomposes it, which takes hours on a model of 7 B parameters.
The factors engine decomposes a matrix as small as the sum of the ranks: see `lftreg.composer.lowrank`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.composer.methods.cat import side_by_side
from lftreg.composer.options import Rank
from lftreg.plugins.types import Method


def svd(
    model: Any, adapters: Sequence[str], weights: Sequence[float], name: str, *, rank: Rank | None = None
) -> None:
    model.add_weighted_adapter(
        list(adapters),
        list(weights),
        name,
        combination_type="svd",
        svd_rank=rank,
        svd_full_matrices=False,  # PEFT's default computes what it then throws away, for hours
    )


METHODS = (
    Method(
        "svd",
        "The weighted sum at a chosen rank, as near as that rank allows.",
        svd,
        mix=side_by_side,
        truncates=True,
        error="what the rank cannot hold, told beforehand",
        cost="a few times copying the parents",
    ),
)
