"""A recipe makes the same bytes again, from the same parents under any name, or says why it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lftreg import Registry, Version, compose
from lftreg.composer.composition import compose_recipe
from lftreg.composer.recipes import save_recipe
from lftreg.errors import LftregError
from lftreg.paths import Home
from lftreg.registry import CONFIG, WEIGHTS, Draft

from .conftest import Kitchen
from .test_engines import stray

Two = tuple[Version, Version]
HOWS: tuple[dict[str, Any], ...] = (
    {"engine": "peft"},
    {"engine": "factors", "dtype": "bfloat16"},
    {"method": "svd", "rank": "auto", "max_error": 0.2},
    {"method": "linear"},
    {"method": "dare_linear_svd", "seed": 3, "density": 0.4},
    {"method": "dare_core", "seed": 3},
    {"method": "ties_core", "density": 0.3, "majority_sign_method": "frequency", "rank": 5},
    {"weights": "crossfade", "normalise": True},
)


@pytest.mark.parametrize("how", HOWS, ids=lambda how: "-".join(map(str, how.values())))
def test_the_same_bytes_elsewhere(kitchen: Kitchen, pair: Two, tmp_path: Path, how: dict[str, Any]) -> None:
    """Another home, where the parents have other names and came in another order."""
    made = compose(["a:0.7", "b:-0.3"], registry=kitchen.registry, name="mix", **how)
    save_recipe(made, tmp_path / "mix.json")
    assert (tmp_path / "mix.json").stat().st_size < 1500
    with Registry(Home(tmp_path / "elsewhere")) as elsewhere:
        for version in reversed(pair):
            config = kitchen.registry.config(version)
            weights = kitchen.registry.file(version, WEIGHTS)
            elsewhere.publish(Draft(f"other-{version.name}", "imported", version.base, weights, config))
        again = compose_recipe(tmp_path / "mix.json", registry=elsewhere)
        assert again.digest == made.digest
        assert again.name == "mix"
        for name in (WEIGHTS, CONFIG):
            assert elsewhere.read(again, name) == kitchen.registry.read(made, name)
        assert again.recipe is not None
        assert made.recipe is not None
        assert again.recipe.options == made.recipe.options
        named = compose_recipe(tmp_path / "mix.json", name="named", registry=elsewhere)
        assert (named.name, named.digest) == ("named", made.digest)


@pytest.fixture
def document(kitchen: Kitchen, pair: Two, tmp_path: Path) -> dict[str, Any]:
    made = compose(["a:0.7", "b:0.3"], registry=kitchen.registry, name="mix", engine="factors")
    save_recipe(made, tmp_path / "good.json")
    found: dict[str, Any] = json.loads((tmp_path / "good.json").read_text())
    return found


def changed(document: dict[str, Any], *path: Any, to: Any) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(json.dumps(document))
    place = made
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return made


@pytest.mark.parametrize(
    ("path", "to", "code"),
    [
        (("kind",), "cake", "recipe"),
        (("format",), 2, "recipe"),
        (("parents",), [], "recipe"),
        (("parents", 0, "digest"), "sha256:1234", "recipe"),
        (("parents", 0, "weight"), True, "recipe"),
        (("parents", 0, "weight"), "0.7", "recipe"),
        (("parents", 0, "digest"), f"sha256:{'0' * 64}", "unknown-adapter"),
        (("parents", 0, "weight"), 0.75, "recipe-differs"),
        (("digest",), f"sha256:{'0' * 64}", "recipe-differs"),
        (("method",), "alchemy", "unknown-method"),
        (("options", "engine"), "steam", "unknown-engine"),
        (("options", "spice"), 1, "unknown-option"),
        (("options", "layer_weights"), [{"nothing": 1.0}, {}], "weights-pattern"),
        (("options", "layer_weights"), 5, "recipe"),
        (("options", "layer_weights"), [{}], "recipe"),
        (("options", "layer_weights"), [{"mlp": "x"}, {}], "weights-file"),
        (("options", "normalise"), "no", "recipe"),
        (("parents", 0, "weight"), 10**400, "recipe"),
        (("digest",), "", "recipe"),
        (("digest",), None, "recipe"),
        (("versions",), [1, 2], "recipe"),
        (("options",), None, "recipe"),
        (("parents",), 7, "recipe"),
    ],
)
def test_a_recipe_that_is_none_or_gives_something_else(
    kitchen: Kitchen, document: dict[str, Any], tmp_path: Path, path: Any, to: Any, code: str
) -> None:
    (tmp_path / "bad.json").write_text(json.dumps(changed(document, *path, to=to)))
    with pytest.raises(LftregError) as told:
        compose_recipe(tmp_path / "bad.json", registry=kitchen.registry)
    assert told.value.code == code
    assert told.value.hint
    assert len(kitchen.registry.list(all_versions=True)) == 3
    assert stray(kitchen.registry) == []


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'"text"'])
def test_a_file_that_is_something_else(registry: Registry, tmp_path: Path, content: bytes) -> None:
    (tmp_path / "bad.json").write_bytes(content)
    with pytest.raises(LftregError) as told:
        compose_recipe(tmp_path / "bad.json", registry=registry)
    assert told.value.code == "recipe"


def test_what_was_not_composed_has_none(pair: Two, tmp_path: Path) -> None:
    with pytest.raises(LftregError) as told:
        save_recipe(pair[0], tmp_path / "x.json")
    assert told.value.code == "no-recipe"
    assert not (tmp_path / "x.json").exists()
