"""Adapters and everything known about them: the only room that writes SQL."""

from __future__ import annotations

from lftreg.registry.keys import Key
from lftreg.registry.log import Entry
from lftreg.registry.records import (
    CONFIG,
    WEIGHTS,
    AliasMove,
    Base,
    Blob,
    Draft,
    File,
    Lineage,
    Listed,
    Parent,
    Preference,
    Problem,
    Recipe,
    Run,
    Score,
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
    "Entry",
    "File",
    "Key",
    "Lineage",
    "Listed",
    "Parent",
    "Preference",
    "Problem",
    "Recipe",
    "Ref",
    "Registry",
    "Run",
    "Score",
    "Version",
    "parse_ref",
    "parse_weighted",
]
