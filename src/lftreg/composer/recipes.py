"""A recipe as a file: about a kilobyte from which a composition is made again, byte for byte.

Parents are named by their digests, so it does not matter what they are called where it is read. The
result's own digest is in it, and what is made is held to that.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lftreg import __version__
from lftreg.composer.plan import Plan, make_plan
from lftreg.composer.weighing import rules_of
from lftreg.errors import CheckFailed, InvalidData, NotFound, StorageError, UsageError
from lftreg.outputs import whole_output
from lftreg.plugins.host import Host
from lftreg.registry import Registry, Version

KIND = "lftreg-recipe"
FORMAT = 1
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
LARGEST = 4_000_000  # bytes; that of two adapters has 1,000
_LIBRARIES = {"factors": ("numpy",), "peft": ("peft", "torch")}
# Options that are not the method's own.
_OWN = ("dtype", "engine", "layer_weights", "normalise")


def write_recipe(made: Version) -> bytes:
    """The recipe of a composed version. Raises UsageError for one that was trained or imported."""
    recipe = made.recipe
    if recipe is None:
        raise UsageError(
            f"{made.ref} was {made.kind}, not composed: it has no recipe",
            "`lftreg export --format peft` writes the adapter itself",
            code="no-recipe",
        )
    engine = recipe.options.get("engine", "peft")
    document = {
        "kind": KIND,
        "format": FORMAT,
        "name": made.name,
        "digest": f"sha256:{made.digest}",
        "base": {"id": made.base.id, "fingerprint": made.base.fingerprint},
        "method": recipe.method,
        "options": dict(recipe.options),
        "parents": [
            {"name": p.ref, "digest": f"sha256:{p.digest}", "weight": p.weight} for p in recipe.parents
        ],
        "relative_error": recipe.relative_error,
        "versions": {"lftreg": __version__} | {name: version(name) for name in _LIBRARIES[engine]},
    }
    return (json.dumps(document, indent=1, sort_keys=False, allow_nan=False) + "\n").encode()


def save_recipe(made: Version, output: Path) -> None:
    """Write the recipe of a composed version to a file that is not there yet."""
    content = write_recipe(made)
    with whole_output(output) as place:
        place.write_bytes(content)


def read_recipe(path: Path) -> dict[str, Any]:
    """The document of a recipe's file. Raises NotFound, StorageError, or InvalidData for anything else."""
    try:
        with path.open("rb") as file:
            content = file.read(LARGEST + 1)
        if len(content) > LARGEST:
            raise ValueError(f"it is larger than {LARGEST:,} bytes")
        document = json.loads(content.decode("utf-8"))
        _check(document)
    except FileNotFoundError as error:
        raise NotFound(
            f"there is no file {str(path)!r}", "`lftreg export REF --recipe` writes one"
        ) from error
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", "give a file that can be") from error
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        raise InvalidData(
            f"{path.name} is no recipe of lftreg ({why})",
            "`lftreg export REF --recipe` writes one",
            code="recipe",
        ) from error
    return document  # type: ignore[no-any-return]


def _check(document: Any) -> None:
    """Raises ValueError, or what a missing or strange field raises by itself."""
    if document["kind"] != KIND:
        raise ValueError(f"its kind is {document['kind']!r:.40}")
    if document["format"] != FORMAT:
        raise ValueError(f"format {document['format']!r:.20} is that of another lftreg")
    options = document["options"]
    if not isinstance(document["method"], str) or not isinstance(options, dict):
        raise ValueError("its method or its options are something else")
    if not isinstance(options.get("normalise", False), bool):
        raise ValueError("normalise is neither true nor false")
    for parent in document["parents"]:
        _check_digest(parent["digest"])
        weight = parent["weight"]
        if not isinstance(weight, int | float) or isinstance(weight, bool) or not math.isfinite(weight):
            raise ValueError(f"{weight!r:.40} is no weight")
    if not document["parents"]:
        raise ValueError("it has no parents")
    rules = options.get("layer_weights") or []
    if not isinstance(rules, list) or len(rules) not in (0, len(document["parents"])):
        raise ValueError("layer_weights is not a list with one entry for each parent")
    _check_digest(document["digest"])
    if not isinstance(document.get("versions", {}), dict):
        raise ValueError("versions is no object")


def _check_digest(digest: Any) -> None:
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError(f"{digest!r:.80} is no digest")


def plan_recipe(document: Mapping[str, Any], name: str | None, registry: Registry, host: Host) -> Plan:
    """The plan of a recipe, from whatever adapters here have its parents' digests.

    Raises NotFound for a parent that is not here.
    """
    options = dict(document["options"])
    parents = [_found(parent, registry) for parent in document["parents"]]
    rules = options.get("layer_weights") or []
    tables = [rules_of(own, "layer_weights") for own in rules]
    return make_plan(
        [f"{one.ref}:{float(p['weight'])!r}" for one, p in zip(parents, document["parents"], strict=True)],
        name=name or str(document.get("name") or "recipe"),
        method=document["method"],
        options={key: value for key, value in options.items() if key not in _OWN},
        dtype=str(options.get("dtype", "auto")),
        registry=registry,
        host=host,
        engine=str(options.get("engine", "auto")),
        tables=tables,
        normalise=bool(options.get("normalise")),
    )


def _found(parent: Mapping[str, Any], registry: Registry) -> Version:
    digest = str(parent["digest"]).removeprefix("sha256:")
    found = registry.list(digest=digest, all_versions=True, limit=1)
    if not found:
        raise NotFound(
            f"the recipe needs {str(parent.get('name', 'an adapter'))!r}, sha256:{digest[:12]}, which is not here",
            "import or pull it; what it is called does not matter",
            code="unknown-adapter",
        )
    return found[0]


def hold_to(document: Mapping[str, Any], digest: str) -> None:
    """Raises CheckFailed where a result is not the one that the recipe tells of."""
    wanted = str(document["digest"]).removeprefix("sha256:")
    if digest != wanted:
        made_by = ", ".join(f"{k} {v}" for k, v in dict(document.get("versions") or {}).items())
        raise CheckFailed(
            f"the recipe gives {digest[:12]} here, and gave {wanted[:12]} where it was written ({made_by})",
            "use those versions on a processor of that kind; nothing was registered",
            code="recipe-differs",
        )
