"""TIES (Yadav et al. 2023, arXiv 2306.01708) in the core space of every layer (arXiv 2509.17786)."""

from __future__ import annotations

from lftreg.composer.core_space import core_space, elected, trimmed
from lftreg.composer.layers import Pair, Stack
from lftreg.composer.options import Density, Sign
from lftreg.plugins.types import Method


def ties_core(stack: Stack, *, density: Density = 0.5, majority_sign_method: Sign = "total") -> Pair:
    """Small entries of the cores go, a majority chooses each sign, who agrees is added up."""
    space = core_space(stack)
    cores = [trimmed(core, density) for core in space.cores()]
    weights = [part.weight for part in stack.parts]
    return space.back(stack, elected(cores, weights, majority_sign_method))


METHODS = (
    Method(
        "ties_core",
        "TIES where parents can be compared: small entries of their shared core go, a majority chooses signs.",
        mix=ties_core,
        needs=("several-parents",),
        truncates=True,
        error="what conflicts is left out: 0.2 to 0.7",
        cost="a few times copying the parents",
    ),
)
