"""Training data from outside."""

from __future__ import annotations

from lftreg.data.files import domain_from_files

__all__ = ["domain_from_files"]
