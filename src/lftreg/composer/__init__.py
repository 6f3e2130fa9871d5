"""Mixing adapters: `compose` plans without reading a tensor, merges through PEFT, and measures the result."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lftreg.composer.composition import compose

__all__ = ["compose"]


def __getattr__(name: str) -> Any:
    # Lazy, because `composer.methods` is a plugin that even `lftreg domains` loads.
    if name == "compose":
        from lftreg.composer.composition import compose

        return compose
    raise AttributeError(f"module 'lftreg.composer' has no attribute {name!r}")
