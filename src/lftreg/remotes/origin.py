"""Where a version came from, kept beside it."""

from __future__ import annotations

import json
from typing import Any

from lftreg.errors import LftregError
from lftreg.registry import Registry, Version

ORIGIN = "origin.json"  # the attachment that tells where a version was pulled from


def read_origin(registry: Registry, version: Version) -> dict[str, Any] | None:
    """Where a version was pulled from; None for one that was not, or whose attachment is lost."""
    if not any(file.name == ORIGIN for file in version.files):
        return None
    try:
        origin = json.loads(registry.read(version, ORIGIN))
    except (LftregError, OSError, ValueError):
        return None  # `lftreg verify` is there to say so
    return origin if isinstance(origin, dict) else None
