"""A search over training settings: trials side by side over one base, losers halved away, the best confirmed alone."""

from __future__ import annotations

from lftreg.sweeping.run import Swept, sweep
from lftreg.sweeping.space import Space, make_space, read_space

__all__ = ["Space", "Swept", "make_space", "read_space", "sweep"]
