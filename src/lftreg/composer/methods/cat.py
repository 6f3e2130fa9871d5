"""cat: the factors side by side. The only method that adds up any parents exactly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.composer.layers import Pair, Stack
from lftreg.plugins.types import Method


def cat(model: Any, adapters: Sequence[str], weights: Sequence[float], name: str) -> None:
    """[w1 s1 A1; w2 s2 A2] and [B1 B2]: the product is the sum, and the rank is the sum of ranks."""
    model.add_weighted_adapter(list(adapters), list(weights), name, combination_type="cat")


def side_by_side(stack: Stack) -> Pair:
    """The stack as it is: B of all parents, and c A."""
    return stack.whole


METHODS = (
    Method(
        "cat",
        "The exact weighted sum; the rank is the sum of the parents' ranks.",
        cat,
        exact=True,
        mix=side_by_side,
        error="none but rounding, 1e-7",
        cost="as fast as copying the parents",
    ),
)
