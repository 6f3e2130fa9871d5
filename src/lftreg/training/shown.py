"""Everything that is kept of a version, as `show` and the server tell it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import LftregError, NotFound
from lftreg.registry import Registry, Score, Version, documents

if TYPE_CHECKING:
    from lftreg.training.losses import Losses
    from lftreg.training.samples import Sample


def read(version: Version, registry: Registry) -> dict[str, Any]:
    """The document of `lftreg show --json`, with all that belongs to it read from the registry."""
    return document(version, read_samples(version, registry), latest(version, registry))


def document(version: Version, samples: Sequence[Sample], scores: Sequence[Score]) -> dict[str, Any]:
    """The document of `lftreg show --json`, of what was read already."""
    told = documents.everything(version) | left_by_run(version, samples)
    return told | {"scores": documents.scores(scores)}


def latest(version: Version, registry: Registry) -> list[Score]:
    """The newest score of each suite and decoding; of this content, whatever its name was."""
    return registry.scores.newest(digest=version.digest)


def read_losses(version: Version, registry: Registry) -> Losses:
    """The stored losses of a version. Raises NotFound where there are none."""
    from lftreg.training.losses import LOSSES, Losses

    if not any(file.name == LOSSES for file in version.files):
        why = "it was not trained here" if version.run is None else "an older lftreg trained it"
        hint = f"`lftreg show {version.ref} --report` tells of a composition" if version.recipe else None
        raise NotFound(f"{version.ref} has no losses to show: {why}", hint, code="no-losses")
    return Losses.from_bytes(registry.read(version, LOSSES))


def read_samples(version: Version, registry: Registry) -> tuple[Sample, ...]:
    """The questions of a run and their answers; none where it asked none, or where they cannot be read."""
    from lftreg.training import samples

    if not any(file.name == samples.SAMPLES for file in version.files):
        return ()
    try:
        return samples.read(registry.read(version, samples.SAMPLES))
    except (LftregError, OSError, ValueError, KeyError, TypeError):
        return ()  # `lftreg verify` is there to say so


def left_by_run(version: Version, samples: Sequence[Sample]) -> dict[str, Any]:
    """What a run leaves beside its losses, for scripts; null where it is not known."""
    settings = {} if version.run is None else version.run.settings
    rows = [{"prompt": s.prompt, "before": s.before, "after": s.after} for s in samples]
    return {
        "samples": rows or None,
        "memory": settings.get("memory"),
        "cost": settings.get("cost"),
        "forgotten": _old(version),
    }


def _old(version: Version) -> dict[str, float] | None:
    losses = {} if version.run is None else version.run.losses
    return {"before": losses["old_before"], "after": losses["old_after"]} if "old_after" in losses else None
