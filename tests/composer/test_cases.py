"""Every way in which PEFT's add_weighted_adapter is known to be silently wrong: here it is exact, or refused.

An exact case is checked on the whole base: PEFT loads each parent with its own configuration, and the
result, and the full updates are compared in float64. A refusal is checked by its code, and by what
it leaves: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
import torch

from lftreg import compose
from lftreg.errors import LftregError
from lftreg.registry import Base

from .conftest import BASES, Change, Kitchen, Tensors, distance

pytestmark = pytest.mark.slow

FLOAT32 = 1e-6
GPT2 = {"base": "gpt2"}


ATTENTION = "base_model.model.model.layers.0.self_attn"


def setting(**values: Any) -> Change:
    """Write settings into the configuration, as another tool might have."""
    return lambda config, tensors: config.update(values)


def tensor(key: str, value: torch.Tensor) -> Change:
    return lambda config, tensors: tensors.update({key: value})


def poison(config: dict[str, Any], tensors: Tensors) -> None:
    next(iter(tensors.values()))[0, 0] = float("nan")


def drop_one(config: dict[str, Any], tensors: Tensors) -> None:
    tensors.pop(next(iter(tensors)))


@dataclass(frozen=True)
class Case:
    """Parents a and b by what is special about them, and how they are composed."""

    name: str
    a: dict[str, Any] = field(default_factory=dict)
    b: dict[str, Any] | None = field(default_factory=dict)
    weights: tuple[float, float] = (0.7, 0.3)
    how: dict[str, Any] = field(default_factory=dict)
    within: float = FLOAT32
    code: str = ""

    def __str__(self) -> str:
        return self.name


EXACT = (
    Case("two plain adapters"),
    Case("rsLoRA first", a={"use_rslora": True}),
    Case("rsLoRA second", b={"use_rslora": True, "r": 6}),
    Case("rsLoRA with a rank pattern", a={"use_rslora": True, "rank_pattern": {"q_proj": 2}}),
    Case("different ranks", a={"r": 2}, b={"r": 7}),
    Case("different alphas", a={"lora_alpha": 1}, b={"lora_alpha": 32}),
    Case("rank pattern", a={"rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 8}}),
    Case("rank pattern, one parent", a={"rank_pattern": {"q_proj": 2}}, b=None),
    Case("alpha pattern", a={"alpha_pattern": {"down_proj": 3}}, b={"alpha_pattern": {"q_proj": 5}}),
    Case("different targets", a={"target_modules": ["q_proj"]}, b={"target_modules": ["up_proj", "q_proj"]}),
    Case("nothing in common", a={"target_modules": ["k_proj"]}, b={"target_modules": ["o_proj"]}),
    Case("a list and a regex", b={"target_modules": r".*\.[01]\.mlp\.(up|gate)_proj"}),
    Case("two regexes", a={"target_modules": r".*q_proj"}, b={"target_modules": r".*\.1\..*_proj"}),
    Case("layers_to_transform first", a={"layers_to_transform": [1]}),
    Case("layers_to_transform of both", a={"layers_to_transform": [1]}, b={"layers_to_transform": [0]}),
    Case("exclude_modules first", a={"exclude_modules": ["v_proj", "layers.0.self_attn.q_proj"]}),
    Case("full paths", a={"target_modules": ["model.layers.1.self_attn.q_proj"]}),
    Case("embeddings", a={"target_modules": ["embed_tokens", "q_proj"]}, b={"target_modules": ["embed_tokens"]}),
    Case("the head", a={"target_modules": ["lm_head", "q_proj"]}),
    Case("Conv1D", a=GPT2, b=GPT2),
    Case("Conv1D, embeddings and all", a=GPT2 | {"target_modules": ["wte", "c_attn", "c_proj"]}, b=GPT2),
    Case("Conv1D by svd", a=GPT2, b=GPT2, how={"method": "svd", "rank": "full"}),
    Case("a negative weight", weights=(1.0, -0.5)),
    Case("a zero weight", weights=(0.0, 0.3)),
    Case("one adapter, scaled", b=None),
    Case("one adapter, negated", b=None, weights=(-2.0, 0.0)),
    Case("one adapter, linear", b=None, how={"method": "linear"}),
    Case("one adapter at full rank", b=None, how={"method": "svd", "rank": "full"}),
    Case("an EVA start", a={"change": setting(init_lora_weights="eva", eva_config={"rho": 1.0})}),
    Case("dropout", a={"lora_dropout": 0.3}),
    Case("linear at different targets", a={"target_modules": ["q_proj"]}, b={"target_modules": ["up_proj"]},
         how={"method": "linear"}),
    # v_proj is 4 wide: a rank of 16 is more than it has, and PEFT's own file could not be loaded.
    Case("svd_rank above a dimension", how={"method": "svd", "rank": 16}),
    Case("bfloat16 kept in float32", a={"dtype": torch.bfloat16}, b={"dtype": torch.bfloat16},
         how={"dtype": "float32"}),
    Case("bfloat16 and float32", a={"dtype": torch.bfloat16}),
    Case("float16 and bfloat16", a={"dtype": torch.bfloat16}, b={"dtype": torch.float16}),
    Case("bfloat16 rounds once", a={"dtype": torch.bfloat16}, b={"dtype": torch.bfloat16}, within=4e-3),
)  # fmt: skip

REFUSED = (
    Case("DoRA", a={"use_dora": True}, code="uses-use-dora"),
    Case("DoRA second", b={"use_dora": True}, code="uses-use-dora"),
    Case("lora_bias", a={"lora_bias": True}, code="uses-lora-bias"),
    Case("bias", a={"bias": "all"}, code="uses-bias"),
    Case("modules_to_save on one side", b={"modules_to_save": ["lm_head"]}, code="uses-modules-to-save"),
    Case("trainable tokens", b={"trainable_token_indices": {"embed_tokens": [1, 2]}},
         code="uses-trainable-token-indices"),
    Case("aLoRA", a={"change": setting(alora_invocation_tokens=[1, 2])}, code="uses-alora-invocation-tokens"),
    Case("bare parameters", a={"change": setting(target_parameters=["w"])}, code="uses-target-parameters"),
    Case("layer replication", a={"change": setting(layer_replication=[[0, 2]])}, code="uses-layer-replication"),
    Case("a setting of tomorrow", a={"change": setting(use_hyperlora=True)}, code="uses-use-hyperlora"),
    *(
        Case(f"{start} start", b={"change": setting(init_lora_weights=start)}, code="uses-init-lora-weights")
        for start in ("pissa", "pissa_niter_16", "olora", "corda", "loftq", "lora_ga", "something_new")
    ),
    Case("another kind of adapter", a={"change": setting(peft_type="LOHA")}, code="not-lora"),
    Case("different bases", b=GPT2, code="different-bases"),
    Case("one base changed", b={"record": Base("cc" * 32, BASES["llama"].id, "llama", 1)}, code="different-bases"),
    Case("a copy of the embedding", code="no-factor",
         a={"change": tensor("base_model.model.model.embed_tokens.base_layer.weight", torch.zeros(48, 16))}),
    Case("a magnitude vector", code="no-factor",
         a={"change": tensor(f"{ATTENTION}.q_proj.lora_magnitude_vector", torch.ones(16))}),
    Case("half a pair", a={"change": drop_one}, code="half-missing"),
    Case("another rank than declared", a={"change": setting(r=5)}, code="rank-mismatch"),
    Case("alpha NaN", a={"change": setting(alpha_pattern={"q_proj": "nan"})}, code="invalid-data"),
    Case("a pattern that is no pattern", a={"change": setting(rank_pattern={"(": 2})}, code="invalid-data"),
    Case("NaN in a factor", b={"change": poison}, code="not-finite"),
    Case("weights of zero", weights=(0.0, 0.0), code="nothing-left"),
    Case("linear at different ranks", a={"r": 2}, how={"method": "linear"}, code="different-ranks"),
    Case("linear with a rank pattern", a={"rank_pattern": {"q_proj": 2}}, how={"method": "linear"},
         code="different-ranks"),
    Case("ties of one", b=None, how={"method": "ties"}, code="one-parent"),
    Case("dare_linear_svd of one", b=None, how={"method": "dare_linear_svd"}, code="one-parent"),
    Case("dare at density 0", how={"method": "dare_linear", "density": 0.0}, code="invalid-option"),
    Case("density above 1", how={"method": "ties", "density": 1.5}, code="invalid-option"),
    Case("density NaN", how={"method": "ties", "density": float("nan")}, code="invalid-option"),
    Case("a rank that cat cannot have", how={"rank": 2}, code="unknown-option"),
    Case("a rank above every layer's", how={"method": "svd", "rank": 17}, code="rank-too-large"),
    Case("float16 overflows", weights=(1e6, 1.0), how={"dtype": "float16"}, code="overflow"),
)  # fmt: skip


def made(kitchen: Kitchen, case: Case) -> tuple[list[Any], list[str]]:
    """The parents of a case, published, and their words on the command line."""
    sides = [("a", 1, case.a), *([("b", 2, case.b)] if case.b is not None else [])]
    versions = [kitchen.parent(name, seed, **special) for name, seed, special in sides]
    return versions, [f"{v.ref}:{w}" for v, w in zip(versions, case.weights, strict=False)]


@pytest.mark.parametrize("case", EXACT, ids=str)
def test_exact(kitchen: Kitchen, case: Case) -> None:
    versions, words = made(kitchen, case)
    version = compose(words, registry=kitchen.registry, **case.how)
    wanted = kitchen.expected(*zip(versions, case.weights, strict=False))
    measured = distance(kitchen.deltas(version), wanted)
    assert measured <= case.within
    assert version.recipe is not None and version.recipe.relative_error is not None
    assert version.recipe.relative_error == pytest.approx(measured, rel=1e-6, abs=1e-12)


@pytest.mark.parametrize("case", REFUSED, ids=str)
def test_refused(kitchen: Kitchen, case: Case) -> None:
    _, words = made(kitchen, case)
    with pytest.raises(LftregError) as refusal:
        compose(words, registry=kitchen.registry, name="mix", **case.how)
    assert refusal.value.code == case.code
    assert refusal.value.hint
    assert refusal.value.exit_code == 2
    assert not [version for version in kitchen.registry.list() if version.name == "mix"]


@pytest.mark.parametrize("method", ["cat", "svd"])
def test_eight_parents_with_one_twice(kitchen: Kitchen, method: str) -> None:
    versions = [kitchen.parent(f"p{n}", n, r=1 + n % 3) for n in range(7)]
    parents = [(v, 0.5 - 0.1 * n) for n, v in enumerate([*versions, versions[2]])]
    how = {"method": method} | ({"rank": "full"} if method == "svd" else {})
    made = compose([f"{v.ref}:{w}" for v, w in parents], registry=kitchen.registry, name="all", **how)
    assert distance(kitchen.deltas(made), kitchen.expected(*parents)) <= FLOAT32
    assert len(made.recipe.parents) == 8 if made.recipe else False


def test_the_same_adapter_twice_is_twice_the_adapter(kitchen: Kitchen) -> None:
    """PEFT's linear gives 2 x, its ties 0.5 x for .5 / .5; only cat and svd give the adapter again."""
    a = kitchen.parent("a")
    errors = {
        method: compose(["a:0.5", "a:0.5"], method=method, name="again", registry=kitchen.registry).recipe
        for method in ("cat", "svd", "linear", "ties")
    }
    found = {method: recipe.relative_error for method, recipe in errors.items() if recipe}
    assert found["cat"] is not None and found["cat"] <= FLOAT32
    assert found["svd"] is not None and found["svd"] <= FLOAT32
    assert found["linear"] == pytest.approx(1.0, abs=1e-5)
    assert found["ties"] is not None and found["ties"] > 0.4
    again = kitchen.registry.list(all_versions=True, name="again")[-1]
    assert distance(kitchen.deltas(again), kitchen.deltas(a)) <= FLOAT32


def test_peft_itself_is_wrong_where_this_is_not(kitchen: Kitchen) -> None:
    """The oracle can tell: rsLoRA first through PEFT alone misses the sum by far."""
    a, b = kitchen.parent("a", 1, use_rslora=True), kitchen.parent("b", 2)
    from peft import LoraConfig, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer
    from safetensors.torch import load_file

    from lftreg.registry import WEIGHTS

    model = kitchen.load(a)
    config = {k: v for k, v in kitchen.registry.config(b).items() if k not in ("peft_type", "auto_mapping")}
    model.add_adapter("b", LoraConfig(**config))
    set_peft_model_state_dict(model, load_file(kitchen.registry.file(b, WEIGHTS)), adapter_name="b")
    model.add_weighted_adapter(["default", "b"], [0.7, 0.3], "mix", combination_type="cat")
    modules = model.base_model.model.named_modules()
    naive = {n: m.get_delta_weight("mix") for n, m in modules if isinstance(m, LoraLayer)}
    assert distance(naive, kitchen.expected((a, 0.7), (b, 0.3))) > 1
