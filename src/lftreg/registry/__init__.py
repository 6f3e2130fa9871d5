"""Adapters and everything known about them: the only room that writes SQL."""

from __future__ import annotations

from lftreg.registry.records import (
    CONFIG,
    WEIGHTS,
    AliasMove,
    Base,
    Blob,
    Draft,
    File,
    Lineage,
    Parent,
    Problem,
    Recipe,
    Run,
    Version,
)
from lftreg.registry.ref import Ref, parse_ref, parse_weighted
from lftreg.registry.registry import Registry

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "AliasMove",
    "Base",
    "Blob",
    "Draft",
    "File",
    "Lineage",
    "Parent",
    "Problem",
    "Recipe",
    "Ref",
    "Registry",
    "Run",
    "Version",
    "parse_ref",
    "parse_weighted",
]
