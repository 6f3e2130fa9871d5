"""The methods against PEFT's own results on the whole base, and against what theory says is best."""

from __future__ import annotations

import inspect
from typing import Any, get_args, get_type_hints

import pytest
import torch
from peft import LoraConfig, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer, LoraModel
from safetensors.torch import load_file

from lftreg import Registry, Version, compose
from lftreg.composer.options import options_of
from lftreg.plugins.host import Host
from lftreg.registry import WEIGHTS

from .conftest import Kitchen, Tensors, distance

pytestmark = pytest.mark.slow

ALL = {name: entry.value for name, entry in Host(external=False).methods().items()}
METHODS = {name: method for name, method in ALL.items() if method.merge is not None}
DARE = [name for name in METHODS if name.startswith("dare_")]
Pair = tuple[Version, Version]


def by_peft(kitchen: Kitchen, pair: Pair, weights: list[float], method: str) -> Tensors:
    """What PEFT's add_weighted_adapter gives on the whole base, in float64, at a density of one half."""
    first, second = pair
    model = kitchen.load(first)
    config = kitchen.registry.config(second)
    kept = {key: value for key, value in config.items() if key not in ("peft_type", "auto_mapping")}
    model.add_adapter("second", LoraConfig(**kept))
    tensors = load_file(kitchen.registry.file(second, WEIGHTS))
    set_peft_model_state_dict(model, tensors, adapter_name="second")
    model.double()
    model.add_weighted_adapter(["default", "second"], weights, "mix", combination_type=method, density=0.5)
    modules = model.base_model.model.named_modules()
    with torch.no_grad():
        return {n: m.get_delta_weight("mix").double() for n, m in modules if isinstance(m, LoraLayer)}


def test_every_combination_of_peft_is_a_method() -> None:
    hints = get_type_hints(LoraModel.add_weighted_adapter)
    assert set(METHODS) == set(get_args(hints["combination_type"]))
    assert [name for name, method in METHODS.items() if method.exact] == ["cat"]


@pytest.mark.parametrize("base", ["llama", "gpt2"])
@pytest.mark.parametrize("method", [name for name in METHODS if name not in DARE])
def test_a_skeleton_gives_what_the_whole_base_gives(kitchen: Kitchen, method: str, base: str) -> None:
    """The rank is below every layer's sizes, where PEFT's own svd with full matrices works."""
    pair = kitchen.parent("a", 1, base=base, r=3), kitchen.parent("b", 2, base=base, r=3)
    if pair[0].digest > pair[1].digest:  # which of two breaks ties the other way round is PEFT's to say
        pair = pair[1], pair[0]
    weights = [0.7, 0.3]
    words = [f"{v.ref}:{w}" for v, w in zip(pair, weights, strict=True)]
    made = kitchen.deltas(compose(words, method=method, registry=kitchen.registry))
    assert distance(made, by_peft(kitchen, pair, weights, method)) < 1e-5


@pytest.mark.parametrize("base", ["llama", "gpt2"])
@pytest.mark.parametrize("method", METHODS)
def test_the_error_that_is_told_is_the_error_in_full(kitchen: Kitchen, method: str, base: str) -> None:
    a, b = kitchen.parent("a", 1, base=base), kitchen.parent("b", 2, base=base)
    version = compose(["a:0.7", "b:0.3"], method=method, registry=kitchen.registry)
    measured = distance(kitchen.deltas(version), kitchen.expected((a, 0.7), (b, 0.3)))
    assert version.recipe is not None
    assert version.recipe.relative_error == pytest.approx(measured, rel=1e-6, abs=1e-12)
    assert (measured < 1e-6) is METHODS[method].exact


@pytest.mark.parametrize("method", METHODS)
def test_same_recipe_same_digest_in_any_order(kitchen: Kitchen, pair: Pair, method: str) -> None:
    one = compose(["a:0.7", "b:0.3"], method=method, registry=kitchen.registry)
    torch.manual_seed(12345)  # what the process drew before does not matter
    other = compose(["b:0.3", "a:0.7"], method=method, registry=kitchen.registry, name="other")
    weights = compose(["a:0.3", "b:0.7"], method=method, registry=kitchen.registry, name="weights")
    assert one.digest == other.digest != weights.digest
    assert one.recipe is not None and other.recipe is not None
    assert one.recipe.relative_error == other.recipe.relative_error
    assert [p.ref for p in one.recipe.parents] == ["a@1", "b@1"]
    assert [p.ref for p in other.recipe.parents] == ["b@1", "a@1"]


@pytest.mark.parametrize("method", DARE)
def test_the_seed_decides_what_dare_drops(kitchen: Kitchen, pair: Pair, method: str) -> None:
    def digest(**options: Any) -> str:
        return compose(["a", "b"], method=method, registry=kitchen.registry, **options).digest

    assert digest() == digest(seed=0) != digest(seed=1)
    assert digest(seed=1) == digest(seed=1) != digest(seed=1, density=0.4)


@pytest.mark.parametrize("method", DARE)
def test_dare_at_density_one_drops_nothing(kitchen: Kitchen, pair: Pair, method: str) -> None:
    without = method.removeprefix("dare_").replace("linear_svd", "svd")
    dare = compose(["a", "b"], method=method, density=1, registry=kitchen.registry)
    options = {"density": 1} if "density" in options_of(METHODS[without]) else {}
    plain = compose(["a", "b"], method=without, registry=kitchen.registry, **options)
    assert distance(kitchen.deltas(dare), kitchen.deltas(plain)) < 1e-5


def test_nobodys_random_generator_moves(kitchen: Kitchen, pair: Pair) -> None:
    torch.manual_seed(7)
    before = torch.get_rng_state()
    compose(["a", "b"], method="dare_ties_svd", registry=kitchen.registry)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("rank", [1, 3, 5, 7])
def test_svd_is_the_best_of_its_rank(kitchen: Kitchen, pair: Pair, rank: int) -> None:
    version = compose(["a:0.7", "b:-0.3"], method="svd", rank=rank, registry=kitchen.registry)
    wanted = kitchen.expected((pair[0], 0.7), (pair[1], -0.3))
    lost = sum(float(torch.linalg.svdvals(delta)[rank:].square().sum()) for delta in wanted.values())
    whole = sum(float(delta.square().sum()) for delta in wanted.values())
    assert version.rank == rank
    assert version.recipe is not None
    assert version.recipe.relative_error == pytest.approx((lost / whole) ** 0.5, rel=1e-5)


def test_svd_takes_the_largest_parents_rank_if_none_is_given(kitchen: Kitchen) -> None:
    kitchen.parent("a", 1, r=2)
    kitchen.parent("b", 2, r=3, rank_pattern={"q_proj": 5})
    assert compose(["a", "b"], method="svd", registry=kitchen.registry).rank == 5


def test_auto_is_the_smallest_rank_that_loses_one_per_cent(kitchen: Kitchen) -> None:
    """b is nearly nothing, so that a's rank is nearly enough."""
    kitchen.parent("a", 1, r=3)
    kitchen.parent("b", 2, r=4)

    def found(**how: Any) -> tuple[int, float]:
        made = compose(["a:1", "b:0.004"], method="svd", registry=kitchen.registry, **how)
        assert made.recipe is not None and made.recipe.relative_error is not None
        return made.rank, made.recipe.relative_error

    rank, error = found(rank="auto")
    assert rank == 3
    assert 0 < error <= 0.01
    assert found(rank=rank - 1)[1] > 0.01
    assert found(rank="full") == (7, pytest.approx(0, abs=1e-6))


def test_the_options_of_a_method_are_those_of_its_merge() -> None:
    assert list(options_of(METHODS["cat"])) == []
    assert list(options_of(METHODS["dare_ties_svd"])) == ["density", "majority_sign_method", "rank", "seed"]
    for method in METHODS.values():
        assert all(p.default is not inspect.Parameter.empty for p in options_of(method).values())


def test_a_majority_by_number_differs_from_one_by_sum(kitchen: Kitchen, pair: Pair) -> None:
    kitchen.parent("c", 3)
    digests = {
        compose(["a", "b", "c"], method="ties", majority_sign_method=sign, registry=kitchen.registry).digest
        for sign in ("total", "frequency")
    }
    assert len(digests) == 2


def test_a_method_of_a_plugin(kitchen: Kitchen, pair: Pair, registry: Registry) -> None:
    """The host hands methods over from anywhere; their options come from their signature too."""
    from dataclasses import replace

    from lftreg import Method
    from lftreg.plugins.host import Registered

    def halves(model: Any, adapters: Any, weights: Any, name: str, *, share: float = 0.5) -> None:
        model.add_weighted_adapter(adapters, [share] * len(adapters), name, combination_type="cat")

    class Mine(Host):
        def methods(self) -> dict[str, Registered[Method]]:
            found = super().methods()
            mine = replace(found["cat"].value, name="halves", merge=halves, exact=False)
            return found | {"halves": Registered(mine, "mine", "mine 1")}

        def method(self, name: str) -> Method:
            return self.methods()[name].value

    made = compose(["a", "b"], method="halves", share=0.25, registry=registry, host=Mine(external=False))
    assert distance(kitchen.deltas(made), kitchen.expected((pair[0], 0.25), (pair[1], 0.25))) < 1e-6
    assert made.recipe is not None
    assert made.recipe.options["share"] == 0.25
    assert made.recipe.relative_error == pytest.approx(0.75)
