"""The built-in methods: a plugin like any other. Each merges through PEFT's `add_weighted_adapter`.

Those called `*_svd` prune the full update of every layer and cut it back to a low rank; their short
namesakes prune the two factors apart, which is cheap, and far from the same thing.
"""

from __future__ import annotations

from collections.abc import Iterable

from lftreg.composer.methods import cat, dare, linear, magnitude, svd, ties
from lftreg.plugins import hookimpl
from lftreg.plugins.types import Method


@hookimpl
def lftreg_methods() -> Iterable[Method]:
    for family in (cat, svd, linear, ties, dare, magnitude):
        yield from family.METHODS
