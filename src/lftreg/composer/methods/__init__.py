"""The built-in methods: a plugin like any other. Most merge through PEFT's `add_weighted_adapter`.

`cat` and `svd` run in the factors engine too, and those that work in the space which the parents share
(`*_core`, `knots`) run in it alone.

Those called `*_svd` prune the full update of every layer and cut it back to a low rank; their short
namesakes prune the two factors apart, which is cheap, and far from the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable

from lftreg.composer.methods import cat, dare, dare_core, knots, linear, magnitude, svd, ties, ties_core
from lftreg.plugins import hookimpl
from lftreg.plugins.types import Method


@hookimpl
def lftreg_methods() -> Iterable[Method]:
    for family in (cat, svd, linear, ties, ties_core, knots, dare, dare_core, magnitude):
        yield from family.METHODS
