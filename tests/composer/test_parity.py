"""Two engines, one answer: PEFT's add_weighted_adapter and the factors engine on the same parents."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lftreg import compose
from lftreg.errors import LftregError

from .conftest import Kitchen, distance
from .test_cases import GPT2, Case, setting

pytestmark = pytest.mark.slow

CAT, SVD, BF16 = 1e-6, 1e-5, 4e-3
HALF = {"dtype": torch.bfloat16}

CASES = (
    Case("plain"),
    Case("ranks", a={"r": 2}, b={"r": 7}),
    Case("alphas", a={"lora_alpha": 1}, b={"lora_alpha": 32}),
    Case("rank_pattern", a={"rank_pattern": {"q_proj": 2, "layers.1.self_attn.v_proj": 8}}),
    Case("rank_pattern of both", a={"rank_pattern": {"q_proj": 2}}, b={"rank_pattern": {"q_proj": 6}}),
    Case("alpha_pattern", a={"alpha_pattern": {"down_proj": 3}}, b={"alpha_pattern": {"q_proj": 5}}),
    Case("rsLoRA first", a={"use_rslora": True}),
    Case("rsLoRA of both", a={"use_rslora": True, "r": 3}, b={"use_rslora": True, "r": 6}),
    Case("rsLoRA and patterns", a={"use_rslora": True, "rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 1}}),
    Case("targets", a={"target_modules": ["q_proj"]}, b={"target_modules": ["up_proj", "q_proj"]}),
    Case("targets apart", a={"target_modules": ["k_proj"]}, b={"target_modules": ["o_proj"]}),
    Case("list and regex", b={"target_modules": r".*\.[01]\.mlp\.(up|gate)_proj"}),
    Case("two regexes", a={"target_modules": r".*q_proj"}, b={"target_modules": r".*\.1\..*_proj"}),
    Case("layers_to_transform", a={"layers_to_transform": [1]}),
    Case("exclude_modules", a={"exclude_modules": ["v_proj"]}),
    Case("embeddings", a={"target_modules": ["embed_tokens", "q_proj"]}, b={"target_modules": ["embed_tokens"]}),
    Case("head", a={"target_modules": ["lm_head", "q_proj"]}),
    Case("Conv1D", a=GPT2, b=GPT2),
    Case("Conv1D and embeddings", a=GPT2 | {"target_modules": ["wte", "c_attn", "c_proj"]}, b=GPT2),
    Case("negative", weights=(1.0, -0.5)),
    Case("negative first", weights=(-2.0, 0.25)),
    Case("zero", weights=(0.0, 0.3)),
    Case("one", b=None),
    Case("one, negated", b=None, weights=(-2.0, 0.0)),
    Case("one, rank_pattern", a={"rank_pattern": {"q_proj": 2}}, b=None),
    Case("EVA", a={"change": setting(init_lora_weights="eva", eva_config={"rho": 1.0})}),
    Case("bf16", a=HALF, b=HALF, within=BF16),
    Case("bf16 kept in float32", a=HALF, b=HALF, how={"dtype": "float32"}),
    Case("bf16 and float32", a=HALF),
    Case("float16", a={"dtype": torch.float16}, b={"dtype": torch.float16}, within=1e-3),
    Case("weights by layer", how={"weights": {"a": {"layers": [1.0, 0.0]}, "b": {"mlp": -0.5, "q_proj": 0}}}),
    Case("normalised", weights=(3.0, 1.0), how={"normalise": True}),
    Case("svd", how={"method": "svd", "rank": 3}, within=SVD),
    Case("svd, ranks", a={"r": 2}, b={"r": 7}, how={"method": "svd", "rank": 5}, within=SVD),
    Case("svd, rsLoRA", a={"use_rslora": True}, how={"method": "svd", "rank": 3}, within=SVD),
    Case("svd, patterns", a={"rank_pattern": {"q_proj": 2}}, how={"method": "svd", "rank": 3}, within=SVD),
    Case("svd, targets", a={"target_modules": ["q_proj"]}, how={"method": "svd", "rank": 3}, within=SVD),
    Case("svd, Conv1D", a=GPT2, b=GPT2, how={"method": "svd", "rank": 3}, within=SVD),
    Case("svd, negative", weights=(1.0, -0.5), how={"method": "svd", "rank": 3}, within=SVD),
)  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=str)
def test_both_engines_give_one_answer(kitchen: Kitchen, case: Case) -> None:
    sides = [("a", 1, case.a), *([("b", 2, case.b)] if case.b is not None else [])]
    words = [
        f"{kitchen.parent(name, seed, **special).ref}:{w}"
        for (name, seed, special), w in zip(sides, case.weights, strict=False)
    ]
    by = {
        engine: compose(words, registry=kitchen.registry, engine=engine, name=engine, **case.how)
        for engine in ("peft", "factors")
    }
    for engine, made in by.items():
        assert made.recipe is not None
        assert made.recipe.options["engine"] == engine
    assert distance(kitchen.deltas(by["factors"]), kitchen.deltas(by["peft"])) <= case.within


@pytest.mark.parametrize("how", [{}, {"method": "svd", "rank": 4}], ids=["cat", "svd"])
def test_eight_parents(kitchen: Kitchen, how: dict[str, Any]) -> None:
    weights = [0.5, -0.25, 1.0, 0.125, 0.75, -1.0, 0.1, 0.3]
    words = [f"{kitchen.parent(f'p{n}', n, r=n % 3 + 1).ref}:{w}" for n, w in enumerate(weights)]
    deltas = [
        kitchen.deltas(compose(words, registry=kitchen.registry, engine=engine, name=engine, **how))
        for engine in ("peft", "factors")
    ]
    assert distance(deltas[1], deltas[0]) <= (SVD if how else CAT)
    backwards = compose(words[::-1], registry=kitchen.registry, engine="factors", name="back", **how)
    assert backwards.digest == kitchen.registry.get("factors").digest


class Convolutions(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Conv1d(6, 10, 3)
        self.two = torch.nn.Conv2d(4, 12, (3, 2))
        self.three = torch.nn.Conv3d(3, 8, 2)
        self.line = torch.nn.Linear(7, 9)
        self.config = {"model_type": "conv"}


def test_convolutions(kitchen: Kitchen, tmp_path: Any) -> None:
    """Against PEFT's own delta of each parent, summed in float64. PEFT's svd takes two dimensions only."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
    from safetensors.torch import load_file, save_file

    from lftreg.models.configs import plain_config
    from lftreg.registry import WEIGHTS, Base, Draft

    base = Base("dd" * 32, "/nowhere/conv", "conv", 100)
    names = ["one", "two", "three", "line"]

    def model(config: dict[str, Any]) -> Any:
        kept = {k: v for k, v in config.items() if k not in ("peft_type", "auto_mapping", "task_type")}
        return get_peft_model(Convolutions(), LoraConfig(**kept))

    def deltas(version: Any) -> dict[str, torch.Tensor]:
        made = model(kitchen.registry.config(version))
        set_peft_model_state_dict(made, load_file(kitchen.registry.file(version, WEIGHTS)))
        made.double()
        layers = made.base_model.model
        with torch.no_grad():
            return {name: getattr(layers, name).get_delta_weight("default") for name in names}

    for seed, name in enumerate("ab"):
        torch.manual_seed(seed)
        one = model({"r": 2 + seed, "lora_alpha": 5, "target_modules": names, "init_lora_weights": False})
        save_file(get_peft_model_state_dict(one), tmp_path / "file")
        config = plain_config(one.peft_config["default"], base.id)
        kitchen.registry.publish(Draft(name, "trained", base, tmp_path / "file", config))
    wanted = {
        name: 0.7 * deltas(kitchen.registry.get("a"))[name] - 0.3 * deltas(kitchen.registry.get("b"))[name]
        for name in names
    }
    words = ["a:0.7", "b:-0.3"]
    for engine in ("peft", "factors"):
        assert distance(deltas(compose(words, registry=kitchen.registry, engine=engine)), wanted) <= CAT
    with pytest.raises(LftregError) as refusal:
        compose(words, registry=kitchen.registry, engine="peft", method="svd")
    assert refusal.value.code == "peft-refuses"

    made = compose(words, registry=kitchen.registry, method="svd", rank=3)
    assert made.recipe is not None
    for name, delta in deltas(made).items():
        s = torch.linalg.svdvals(wanted[name].flatten(1))
        best = float((s[3:] ** 2).sum().sqrt())
        assert float((delta - wanted[name]).norm()) == pytest.approx(best, rel=1e-5)
