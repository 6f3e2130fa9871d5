"""Records as the JSON that scripts rely on. Keys are only ever added; what does not apply is null."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lftreg.composer.fitting.fit import Fitted
    from lftreg.composer.report import Report
    from lftreg.registry import AliasMove, Base, Lineage, Problem, Version

LOSSES = ("train_first", "train_last", "validation_before", "validation_after")
ACCURACIES = ("accuracy_before", "accuracy_after")  # of a classifier on its validation rows
SPLITS = ("train", "validation", "test")


def digest(value: str) -> str:
    """A digest says what it is."""
    return f"sha256:{value}"


def moment(at: datetime | None) -> str | None:
    """A time in UTC, to the second, as ISO 8601."""
    return None if at is None else at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def row(version: Version) -> dict[str, Any]:
    """A version in `list` and `search`."""
    return {
        "ref": version.ref,
        "name": version.name,
        "version": version.number,
        "digest": digest(version.digest),
        "domain": version.domain,
        "base": version.base.id,
        "kind": version.kind,
        "rank": version.rank,
        "bytes": version.bytes,
        "created_at": moment(version.created_at),
        "aliases": list(version.aliases),
        "tags": dict(version.tags),
        "removed_at": moment(version.removed_at),
    }


def made(version: Version) -> dict[str, Any]:
    """What `train`, `import` and `pull` tell about the version they made."""
    run = version.run
    return {
        "ref": version.ref,
        "name": version.name,
        "version": version.number,
        "digest": digest(version.digest),
        "base": base(version.base),
        "rank": version.rank,
        "target_modules": list(version.target_modules),
        "trainable_parameters": version.trainable_parameters,
        "total_parameters": version.base.parameters + version.trainable_parameters,
        "loss": None if run is None else {key: run.losses.get(key) for key in (*LOSSES, *ACCURACIES)},
        "examples": None if run is None else {key: run.examples.get(key, 0) for key in SPLITS},
        "tokens": None if run is None else run.tokens,
        "seconds": None if run is None else run.seconds,
    }


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


def everything(version: Version) -> dict[str, Any]:
    """A version in `show`: the keys of `list` and of `train`, its files, its run and its recipe."""
    run, recipe = version.run, version.recipe
    return {
        **row(version),
        **made(version),
        "alpha": version.alpha,
        "files": [
            {"name": f.name, "sha256": f.sha256, "bytes": f.size, "attachment": f.attachment}
            for f in version.files
        ],
        "run": None
        if run is None
        else {
            "seed": run.seed,
            "data_digest": run.data_digest,
            "settings": dict(run.settings),
            "libraries": dict(run.libraries),
        },
        "recipe": None
        if recipe is None
        else {
            "method": recipe.method,
            "options": dict(recipe.options),
            "parents": [
                {"ref": parent.ref, "digest": digest(parent.digest), "weight": parent.weight}
                for parent in recipe.parents
            ],
            "relative_error": recipe.relative_error,
        },
    }


def base(record: Base) -> dict[str, Any]:
    """A base as other documents name it."""
    return {"id": record.id, "fingerprint": record.fingerprint}


def lineage(node: Lineage) -> dict[str, Any]:
    """A version and its parents, down to what was trained or imported."""
    version = node.version
    return {
        "ref": node.ref,
        "digest": digest(node.digest),
        "weight": node.weight,
        "kind": None if version is None else version.kind,
        "domain": None if version is None else version.domain,
        "method": None if version is None or version.recipe is None else version.recipe.method,
        "parents": [lineage(parent) for parent in node.parents],
    }


def alias_move(move: AliasMove) -> dict[str, Any]:
    return {"name": move.name, "alias": move.alias, "version": move.number, "at": moment(move.at)}


def problem(found: Problem) -> dict[str, Any]:
    return {"ref": found.ref, "code": found.code, "message": found.message}
