"""Records as the JSON that scripts rely on. Keys are only ever added; what does not apply is null."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from lftreg.registry.log import Entry
from lftreg.registry.records import AliasMove, Base, Lineage, Problem, Recipe, Score, Version

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
        "damage": version.damage,
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


def everything(version: Version) -> dict[str, Any]:
    """A version in `show`: the keys of `list` and of `train`, its files, its run and its recipe."""
    run = version.run
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
        "recipe": recipe_of(version.recipe),
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
        "sweep": None if version is None else swept(version),
        "parents": [lineage(parent) for parent in node.parents],
    }


def swept(version: Version) -> dict[str, Any] | None:
    """The study that found the settings of a version, and how many trials it had; null where none did."""
    told = None if version.run is None else version.run.settings.get("sweep")
    return None if not told else {key: told[key] for key in ("study", "trial", "trials", "space")}


def recipe_of(recipe: Recipe | None) -> dict[str, Any] | None:
    """How a composed version was made; null for any other."""
    if recipe is None:
        return None
    parents = [{"ref": p.ref, "digest": digest(p.digest), "weight": p.weight} for p in recipe.parents]
    return {
        "method": recipe.method,
        "options": dict(recipe.options),
        "parents": parents,
        "relative_error": recipe.relative_error,
    }


def alias_move(move: AliasMove) -> dict[str, Any]:
    return {"name": move.name, "alias": move.alias, "version": move.number, "at": moment(move.at)}


def logged(entry: Entry) -> dict[str, Any]:
    """A line of the log."""
    return {
        "id": entry.id,
        "at": moment(entry.at),
        "who": entry.who,
        "host": entry.host,
        "action": entry.action,
        "ref": entry.ref,
        "subject": entry.subject,
        "version": entry.number,
        "digest": entry.digest and digest(entry.digest),
        "details": dict(entry.details),
    }


def problem(found: Problem) -> dict[str, Any]:
    return {"ref": found.ref, "code": found.code, "message": found.message}


def scores(found: Sequence[Score]) -> list[dict[str, Any]]:
    """What evaluations found, one object a suite and a decoding."""
    return [
        {
            "suite": score.suite,
            "suite_digest": score.suite_digest,
            "decoding": dict(score.decoding),
            "n": score.n,
            "at": score.at.isoformat(),
            "metrics": {name: dict(one) for name, one in score.metrics.items()},
            **score.facts,
        }
        for score in found
    ]
