"""What an installed package says of itself, believed no further than it can be shown."""

from __future__ import annotations

import importlib.metadata
import re


def identity(distribution: importlib.metadata.Distribution) -> tuple[str, str]:
    """Name and version of a package. Either may be missing where its folder is damaged."""
    try:
        return distribution.name or "?", distribution.version or ""
    except (LookupError, TypeError, ValueError, OSError):
        return "?", ""


def author(distribution: importlib.metadata.Distribution) -> str:
    """Who a package says has made it, in one line that prints; "" where it says nothing."""
    try:
        told = distribution.metadata
        named = [
            told[key] for key in ("Author", "Author-email", "Maintainer", "Maintainer-email") if key in told
        ]
    except (LookupError, TypeError, ValueError, OSError, AttributeError):
        return ""
    first = next((name for name in named if name), "")
    return "".join(letter for letter in first if letter.isprintable())[:80]


def normal(package: str) -> str:
    return re.sub(r"[-_.]+", "-", package).lower()
