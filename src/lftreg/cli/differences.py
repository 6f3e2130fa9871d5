"""What is recorded of two versions and differs, as the document of `lftreg diff`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lftreg.cli import documents
from lftreg.composer.places import Places, places

if TYPE_CHECKING:
    from lftreg.composer.compare import Comparison, LayerChange
    from lftreg.registry import Recipe, Run, Version

Changes = dict[str, dict[str, Any]]


def records(a: Version, b: Version, configs: tuple[Mapping[str, Any], Mapping[str, Any]]) -> dict[str, Any]:
    """Everything but the weights. A key that is on one side only is null on the other."""
    return {
        "a": _version(a),
        "b": _version(b),
        "same_digest": a.digest == b.digest,
        "files": _files(a, b),
        "config": changes(_plain(configs[0]), _plain(configs[1])),
        "run": changes(_run(a.run), _run(b.run)),
        "recipe": changes(_recipe(a.recipe), _recipe(b.recipe)),
        "tags": changes(a.tags, b.tags),
    }


def weights(found: Comparison) -> dict[str, Any]:
    """The measured part; `layers` are all of them, by block and module."""
    grid = places(layer.path for layer in found.layers)
    ordered = sorted(found.layers, key=lambda layer: grid.rank(layer.path))
    return {
        "relative": found.relative,
        "difference": found.difference,
        "norms": _sides(found.norms),
        "cosine": found.cosine,
        "conflict": found.conflict,
        "ranks": {"a": list(found.ranks(0)), "b": list(found.ranks(1))},
        "only_a": found.only_in(0),
        "only_b": found.only_in(1),
        "estimated": found.estimated,
        "layers": [_layer(layer, grid) for layer in ordered],
    }


def changes(a: Mapping[str, Any], b: Mapping[str, Any]) -> Changes:
    """The keys whose values differ. What is null and what is not there are the same."""
    return {
        key: {"a": a.get(key), "b": b.get(key)}
        for key in sorted({*a, *b})
        if a.get(key) != b.get(key) or isinstance(a.get(key), bool) != isinstance(b.get(key), bool)
    }


def _version(version: Version) -> dict[str, Any]:
    return {
        "ref": version.ref,
        "digest": documents.digest(version.digest),
        "kind": version.kind,
        "domain": version.domain,
        "base": documents.base(version.base),
        "rank": version.rank,
        "alpha": version.alpha,
        "created_at": documents.moment(version.created_at),
    }


def _files(a: Version, b: Version) -> dict[str, Any]:
    ours, theirs = ({file.name: file for file in version.files} for version in (a, b))

    def told(name: str, files: Mapping[str, Any]) -> dict[str, Any]:
        return {"name": name, "sha256": files[name].sha256, "bytes": files[name].size}

    return {
        "added": [told(name, theirs) for name in sorted(theirs) if name not in ours],
        "removed": [told(name, ours) for name in sorted(ours) if name not in theirs],
        "changed": [
            {
                "name": name,
                "a": {"sha256": ours[name].sha256, "bytes": ours[name].size},
                "b": {"sha256": theirs[name].sha256, "bytes": theirs[name].size},
            }
            for name in sorted(ours)
            if name in theirs and ours[name].sha256 != theirs[name].sha256
        ],
    }


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with lists of names, which are sets, in one order, and without what says nothing.

    That is what the digest leaves out, too: a setting that is off is the same as one that is not there.
    """
    return {
        key: sorted(value) if isinstance(value, list) and all(isinstance(x, str) for x in value) else value
        for key, value in config.items()
        if value not in (None, False, [], {}, "")
    }


def _run(run: Run | None) -> dict[str, Any]:
    if run is None:
        return {}
    nested = {
        "settings": run.settings,
        "libraries": run.libraries,
        "losses": run.losses,
        "examples": run.examples,
    }
    flat = {f"{name}.{key}": value for name, values in nested.items() for key, value in values.items()}
    return {"seed": run.seed, "data_digest": run.data_digest, "tokens": run.tokens, **flat}


def _recipe(recipe: Recipe | None) -> dict[str, Any]:
    """The weight of every parent; a list of them where one comes more than once."""
    if recipe is None:
        return {}
    found: dict[str, list[float]] = {}
    for parent in recipe.parents:
        found.setdefault(f"parents.{parent.ref}", []).append(parent.weight)
    parents = {ref: own[0] if len(own) == 1 else sorted(own) for ref, own in found.items()}
    options = {f"options.{key}": value for key, value in recipe.options.items()}
    return {"method": recipe.method, "relative_error": recipe.relative_error, **options, **parents}


def _sides(pair: tuple[Any, Any]) -> dict[str, Any]:
    return {"a": pair[0], "b": pair[1]}


def _layer(layer: LayerChange, grid: Places) -> dict[str, Any]:
    return {
        "path": layer.path,
        "module": grid.kind(layer.path),
        "shape": list(layer.shape),
        "ranks": _sides(layer.ranks),
        "norms": _sides(layer.norms),
        "difference": layer.difference,
        "cosine": layer.cosine,
        "conflict": layer.conflict,
    }
