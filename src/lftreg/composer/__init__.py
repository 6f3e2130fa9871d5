"""Mixing adapters: `compose` plans without reading a tensor, computes by one of two engines, and measures the result.

`compose_recipe` makes a composition again from its recipe; `fit_weights` finds weights on data.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lftreg.composer.composition import compose, compose_recipe
    from lftreg.composer.fitting.fit import fit_weights

__all__ = ["compose", "compose_recipe", "fit_weights"]

# Lazy, because `composer.methods` is a plugin that even `lftreg domains` loads.
_PLACES = {
    "compose": "lftreg.composer.composition",
    "compose_recipe": "lftreg.composer.composition",
    "fit_weights": "lftreg.composer.fitting.fit",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module 'lftreg.composer' has no attribute {name!r}")
