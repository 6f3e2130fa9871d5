"""DARE (Yu et al. 2023, arXiv 2311.03099) in the core space, by lots that anybody can draw again."""

from __future__ import annotations

from lftreg.composer.core_space import core_space, elected, lots
from lftreg.composer.layers import Pair, Stack
from lftreg.composer.options import Density, Seed
from lftreg.plugins.types import Method


def dare_core(stack: Stack, *, density: Density = 0.5, elect: bool = False, seed: Seed = 0) -> Pair:
    """Entries of every parent's core are dropped by lot, the rest is scaled up and added.

    With `elect` a majority chooses each sign, as TIES does.
    """
    space = core_space(stack)
    weights = [part.weight for part in stack.parts]
    cores = [
        core * lots(core.shape, density, seed, stack.path, part.digest)
        for core, part in zip(space.cores(), stack.parts, strict=True)
    ]
    if elect:
        return space.back(stack, elected(cores, weights))
    return space.back(stack, sum(w * core for w, core in zip(weights, cores, strict=True)))  # type: ignore[arg-type]


METHODS = (
    Method(
        "dare_core",
        "DARE in the shared core: entries dropped by lots that seed, layer and adapter decide.",
        mix=dare_core,
        truncates=True,
        error="about sqrt(1/density - 1)",
        cost="a few times copying the parents",
    ),
)
