"""The versions of everything that a model's numbers depend on."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Iterable

from lftreg import __version__

LIBRARIES = ("torch", "transformers", "peft", "accelerate", "tokenizers")


def libraries(more: Iterable[str] = ()) -> dict[str, str]:
    """Versions by name, lftreg's and Python's among them; of `more` those that are installed."""
    versions = {name: importlib.metadata.version(name) for name in LIBRARIES}
    for name in more:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue  # an extra that nothing here needed
    # lftreg by itself: run from a checkout it has no metadata.
    return {"lftreg": __version__, **versions, "python": platform.python_version()}
