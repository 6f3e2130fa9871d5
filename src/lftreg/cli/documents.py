"""Records as the JSON of the commands: those of `lftreg.registry.documents`, and what only a command tells."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from lftreg.registry.documents import (
    alias_move,
    base,
    digest,
    everything,
    lineage,
    logged,
    made,
    moment,
    problem,
    row,
    scores,
    swept,
)

if TYPE_CHECKING:
    from lftreg.composer.fitting.fit import Fitted
    from lftreg.composer.report import Report
    from lftreg.registry import Version

__all__ = [
    "alias_move", "base", "composed", "digest", "everything", "lineage", "logged", "made", "moment", "problem",
    "row", "scores", "swept",
]  # fmt: skip


def composed(
    version: Version, seconds: float, why: str | None, report: Report, fitted: Fitted | None = None
) -> dict[str, Any]:
    """What `compose` tells about the version it made; `why` is the reason for its engine."""
    from lftreg.composer.report import summary

    recipe = version.recipe
    assert recipe is not None
    return {
        "ref": version.ref,
        "name": version.name,
        "version": version.number,
        "digest": digest(version.digest),
        "method": recipe.method,
        "rank": version.rank,
        "parents": [
            {"ref": parent.ref, "digest": digest(parent.digest), "weight": parent.weight}
            for parent in recipe.parents
        ],
        "relative_error": recipe.relative_error,
        "seconds": seconds,
        "options": dict(recipe.options),
        "engine": recipe.options.get("engine"),
        "why": why,
        **summary(report),
        "energy": dict(report.energy),
        "fit": None if fitted is None else asdict(fitted),
    }
