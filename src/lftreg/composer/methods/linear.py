"""linear: the factors added, each by the square root of its weight."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.plugins.types import Method


def linear(model: Any, adapters: Sequence[str], weights: Sequence[float], name: str) -> None:
    """Keeps the rank, and pays with cross terms: sqrt(w1 w2) (B1 A2 + B2 A1) is in the product too."""
    model.add_weighted_adapter(list(adapters), list(weights), name, combination_type="linear")


METHODS = (
    Method(
        "linear",
        "The factors added one by one: keeps the rank, adds cross terms between the parents.",
        linear,
        needs=("equal-ranks",),
        error="0.6 to 0.9, from the cross terms",
        cost="as cat, and no more rank",
    ),
)
