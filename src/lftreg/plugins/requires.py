"""Which lftreg a plugin was written for, by the metadata of its package.

pip refuses a package that does not fit, but not where lftreg is upgraded under one that was
there before, nor with `--no-deps`. Its hooks would then be asked in a way that it does not know.
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution

from lftreg import __version__

_OURS = re.compile(r"\s*lftreg\s*($|[^\w.\s-])", re.IGNORECASE)  # lftreg itself, not lftreg-legal


def other_lftreg(package: Distribution | None) -> str | None:
    """The versions of lftreg that a package asks for, such as `<0.1`, where this one is none of them.

    None where it fits or nothing is asked. A requirement that cannot be read asks for nothing.
    """
    for text in _requirements(package):
        if not _OURS.match(text):
            continue
        # 20 ms, and only for those that name versions.
        from packaging.requirements import InvalidRequirement, Requirement

        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        applies = wanted.marker is None or wanted.marker.evaluate({"extra": ""})
        if applies and not wanted.specifier.contains(__version__, prereleases=True):
            return str(wanted.specifier)
    return None


def _requirements(package: Distribution | None) -> list[str]:
    try:
        return list((package.requires if package is not None else None) or ())
    except (LookupError, TypeError, ValueError, OSError):
        return []  # a damaged folder
