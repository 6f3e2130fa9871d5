"""Weights by layer: what a rule matches, what a gradient gives, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lftreg import Registry, Version, compose
from lftreg.composer.weighing import layer_factors, presets, read_weights, rules_for
from lftreg.errors import LftregError

from .conftest import Kitchen, distance

PATHS = [f"model.layers.{n}.{kind}" for n in range(11) for kind in ("self_attn.q_proj", "mlp.up_proj")]
PATHS.append("lm_head")


def at(rules: dict[str, Any], path: str) -> float:
    return layer_factors(rules, PATHS)[path]


@pytest.mark.parametrize(
    ("rules", "path", "factor"),
    [
        ({"mlp": 0.5}, "model.layers.3.mlp.up_proj", 0.5),
        ({"mlp": 0.5}, "model.layers.3.self_attn.q_proj", 1.0),
        ({"layers.0-3": 0.0}, "model.layers.3.mlp.up_proj", 0.0),
        ({"layers.0-3": 0.0}, "model.layers.10.mlp.up_proj", 1.0),
        ({"layers.1": 0.0}, "model.layers.10.mlp.up_proj", 1.0),
        ({"layers.*.mlp": 0.25}, "model.layers.10.mlp.up_proj", 0.25),
        ({"ffn|mlp": 0.25}, "model.layers.0.mlp.up_proj", 0.25),
        ({"*": 0.0, "lm_head": 2.0}, "lm_head", 2.0),
        ({"*": 0.0, "lm_head": 2.0}, "model.layers.0.mlp.up_proj", 0.0),
        ({"mlp": 0.5, "layers.4": -1.0}, "model.layers.4.mlp.up_proj", -1.0),
        ({"layers": (1.0, 0.0)}, "model.layers.0.mlp.up_proj", 1.0),
        ({"layers": (1.0, 0.0)}, "model.layers.5.mlp.up_proj", 0.5),
        ({"layers": (1.0, 0.0)}, "model.layers.10.mlp.up_proj", 0.0),
        ({"*": (0.0, 1.0, 0.0)}, "model.layers.5.mlp.up_proj", 1.0),
        ({"*": (0.0, 1.0, 0.0)}, "lm_head", 1.0),
    ],
)
def test_what_a_rule_says(rules: dict[str, Any], path: str, factor: float) -> None:
    assert at(rules, path) == pytest.approx(factor)


@pytest.mark.parametrize("name", list(presets()))
def test_every_preset_is_a_sentence_and_rules_that_match(name: str) -> None:
    assert presets()[name].endswith(".")
    for rules in rules_for(read_weights(name), [("a", "a@1"), ("b", "b@1")]):
        layer_factors(rules, PATHS)


BAD = {
    "not toml": ("a = [", "weights-file"),
    "no table": ("a = 1", "weights-file"),
    "no rule": ("[a]", "weights-file"),
    "words": ('[a]\nmlp = "half"', "weights-file"),
    "true": ("[a]\nmlp = true", "weights-file"),
    "nan": ("[a]\nmlp = nan", "weights-file"),
    "one stop": ("[a]\nmlp = [1.0]", "weights-file"),
    "a regex": ("[a]\n'(mlp)+' = 1.0", "weights-file"),
    "nobody": ("[c]\nmlp = 1.0", "weights-parent"),
    "no layer": ("[a]\nmpl = 1.0", "weights-pattern"),
    "cancel": ("[a]\nmlp = -1.0", "weights-cancel"),
    "all zero": ('["*"]\n"*" = 0', "nothing-left"),
}


@pytest.mark.parametrize("name", list(BAD))
def test_what_is_refused(kitchen: Kitchen, pair: tuple[Version, Version], tmp_path: Path, name: str) -> None:
    text, code = BAD[name]
    (tmp_path / "w.toml").write_text(text)
    with pytest.raises(LftregError) as told:
        compose(
            ["a", "b"],
            weights=tmp_path / "w.toml",
            normalise=code == "weights-cancel",
            registry=kitchen.registry,
        )
    assert told.value.code == code
    assert told.value.hint
    assert len(kitchen.registry.list()) == 2


def test_what_a_later_table_says_again_is_said_last() -> None:
    tables = read_weights({"*": {"mlp": 0.5, "layers.0-3": 0.25}, "a": {"mlp": 1.0}})
    one, two = rules_for(tables, [("a", "a@1"), ("b", "b@1")])
    assert layer_factors(one, PATHS)["model.layers.0.mlp.up_proj"] == 1.0
    assert layer_factors(two, PATHS)["model.layers.0.mlp.up_proj"] == 0.25


def test_a_parent_whose_name_is_a_place(kitchen: Kitchen) -> None:
    kitchen.parent("2", 1)
    kitchen.parent("b", 2)
    with pytest.raises(LftregError, match="another") as told:
        compose(["2", "b"], weights={"2": {"mlp": 0.5}}, registry=kitchen.registry)
    assert told.value.hint == "write its REF: 2@1"
    compose(["2", "b"], weights={"2@1": {"mlp": 0.5}}, registry=kitchen.registry)
    compose(["b", "2"], weights={"2": {"mlp": 0.5}}, registry=kitchen.registry)  # its place is its own


def test_a_file_that_is_not_there(pair: tuple[Version, Version], registry: Registry) -> None:
    with pytest.raises(LftregError, match="no preset") as told:
        compose(["a", "b"], weights="crossfaed", registry=registry)
    assert "crossfade" in str(told.value.hint)


def test_layers_are_weighed(kitchen: Kitchen, pair: tuple[Version, Version], tmp_path: Path) -> None:
    (tmp_path / "w.toml").write_text('[a]\n"*" = 0.5\n"layers.1" = 0.0\n\n[2]\nmlp = -1.0\n')
    made = compose(["a:0.8", "b@1:0.4"], weights=tmp_path / "w.toml", registry=kitchen.registry)
    a, b = (kitchen.deltas(version) for version in pair)
    wanted = {}
    for path in a:
        one = 0.0 if ".1." in path else 0.4
        two = -0.4 if "mlp" in path else 0.4
        wanted[path] = one * a[path] + two * b[path]
    assert distance(kitchen.deltas(made), wanted) <= 1e-6
    assert made.recipe is not None
    assert [p.weight for p in made.recipe.parents] == [0.8, 0.4]


def test_normalised_is_an_average_in_every_layer(kitchen: Kitchen, pair: tuple[Version, Version]) -> None:
    made = compose(
        ["a:3", "b:1"], weights={"a": {"layers.0": 1 / 3}}, normalise=True, registry=kitchen.registry
    )
    a, b = (kitchen.deltas(version) for version in pair)
    share = {path: 0.5 if ".0." in path else 0.75 for path in a}
    wanted = {path: share[path] * a[path] + (1 - share[path]) * b[path] for path in a}
    assert distance(kitchen.deltas(made), wanted) <= 1e-6
