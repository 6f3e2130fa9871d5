"""The packages of the extra `serve`."""

from __future__ import annotations

import importlib.util

from lftreg.errors import Unavailable

NEEDED = ("starlette", "uvicorn", "prometheus_client")


def check_extras() -> None:
    """Before anything is loaded, which may take long. Raises Unavailable for the first package that is missing."""
    for module in NEEDED:
        if importlib.util.find_spec(module) is None:
            package = module.replace("_", "-")
            raise Unavailable(
                f"serving needs the {package} package", "pip install 'lftreg[serve]'", code="no-serve"
            )
