"""Stacked adapters against PEFT: the same numbers as the composition that has the same weights, and no trace."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from lftreg import Registry, Version, compose
from lftreg.composer.fitting.mixture import REST, Mixture, block_of, blocks_of, mixture_of
from lftreg.composer.plan import make_plan
from lftreg.errors import Incompatible, InvalidData
from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.configs import plain_config
from lftreg.models.load import load_base
from lftreg.models.tasks import natural_task
from lftreg.plugins.host import Host
from lftreg.registry import WEIGHTS, Draft

from .conftest import BASES, Kitchen, real_model
from .random_parents import publish_random

IDS = torch.tensor([[1, 5, 9, 20, 3, 40], [7, 7, 2, 31, 0, 11]])
WEIGHTS_OF_THREE = (0.7, -0.4, 1.3)


def stacked(model: Any, registry: Registry, *refs: str) -> Mixture:
    plan = make_plan(refs, name="it", method="cat", options={}, dtype="auto", registry=registry, host=Host())
    return mixture_of(model, plan.parents, plan.layers)


def set_weights(stack: Mixture, *weights: float) -> None:
    stack.weights = torch.tensor(weights).expand(len(stack.blocks), len(weights))


def composed(registry: Registry) -> Version:
    refs = [f"{name}:{weight}" for name, weight in zip("abc", WEIGHTS_OF_THREE, strict=True)]
    return compose(refs, name="mix", method="cat", registry=registry)


PARENTS: dict[str, list[dict[str, Any]]] = {
    "llama": [
        {},
        {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"v_proj": 3}, "use_rslora": True},
        {"r": 3, "target_modules": ["embed_tokens", "k_proj", "lm_head"]},
    ],
    "gpt2": [
        {},
        {"rank_pattern": {"c_proj": 2}, "use_rslora": True},
        {"r": 3, "target_modules": ["wte", "c_fc"]},
    ],
}


@pytest.mark.parametrize("base", PARENTS)
def test_stacked_adapters_are_the_exact_composition(base: str, kitchen: Kitchen, registry: Registry) -> None:
    for seed, (name, lora) in enumerate(zip("abc", PARENTS[base], strict=True)):
        kitchen.parent(name, seed, base=base, **lora)
    model = real_model(base).eval()
    stack = stacked(model, registry, "a", "b", "c")
    set_weights(stack, *WEIGHTS_OF_THREE)
    with torch.no_grad():
        bare = model(input_ids=IDS).logits
        with stack.attached():
            ours = model(input_ids=IDS).logits
        theirs = kitchen.load(composed(registry))(input_ids=IDS).logits
    assert (ours - theirs).abs().max() <= 1e-5
    assert (ours - bare).abs().max() > 1e-2


@pytest.mark.parametrize("kind", ["starter", "t5", "bert"])
def test_whole_bases_with_their_own_tasks(
    kind: str, request: pytest.FixtureRequest, registry: Registry, tmp_path: Path
) -> None:
    spec = kind if kind == "starter" else str(request.getfixturevalue("tiny")(kind))
    found = find_base(spec, registry)
    for seed, name in enumerate("abc"):
        publish_random(registry, found, tmp_path, name, seed, target_modules="all-linear", r=2 + seed)
    mix = composed(registry)
    loaded, again = load_base(found), load_base(found)
    stack = stacked(loaded.model, registry, "a", "b", "c")
    set_weights(stack, *WEIGHTS_OF_THREE)
    peft = AdapterModel(again)
    peft.attach("mix", registry.config(mix), registry.file(mix, WEIGHTS))
    given = {"input_ids": IDS} | ({"decoder_input_ids": IDS} if kind == "t5" else {})
    with torch.no_grad():
        bare = loaded.model(**given).logits
        with stack.attached(), peft.using("mix") as theirs:
            ours, wanted = loaded.model(**given).logits, theirs(**given).logits
    assert natural_task(found.config) == loaded.task
    assert (ours - wanted).abs().max() <= 1e-5 * max(1.0, float(wanted.abs().max()))
    assert (ours - bare).abs().max() > 1e-2


def test_an_embedding_that_scales_what_it_looks_up(registry: Registry, tmp_path: Path) -> None:
    """Gemma 3's does; PEFT is the oracle."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    def model() -> Any:
        torch.manual_seed(0)
        return Gemma3ForCausalLM(
            Gemma3TextConfig(
                vocab_size=48, hidden_size=16, intermediate_size=24, num_hidden_layers=2,
                num_attention_heads=2, num_key_value_heads=1, head_dim=8,
            )
        ).eval()  # fmt: skip

    torch.manual_seed(1)
    lora = LoraConfig(r=3, target_modules=["embed_tokens"], init_lora_weights=False, task_type="CAUSAL_LM")
    peft = get_peft_model(model(), lora).eval()
    file = tmp_path / "a.safetensors"
    save_file(get_peft_model_state_dict(peft, save_embedding_layers=False), file)
    registry.publish(
        Draft("a", "trained", BASES["llama"], file, plain_config(peft.peft_config["default"], "x"))
    )
    ours = model()
    stack = stacked(ours, registry, "a")
    set_weights(stack, 1.0)
    with torch.no_grad(), stack.attached():
        assert (ours(input_ids=IDS).logits - peft(input_ids=IDS).logits).abs().max() <= 1e-5


def test_no_weight_is_the_base_and_nothing_stays(kitchen: Kitchen, registry: Registry) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        kitchen.parent(name, seed)
    model = real_model("llama").eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        bare = model(input_ids=IDS).logits
        stack = stacked(model, registry, "a", "b")
        with stack.attached():
            assert torch.equal(model(input_ids=IDS).logits, bare)
            set_weights(stack, 1.0, 1.0)
            assert not torch.equal(model(input_ids=IDS).logits, bare)
        with pytest.raises(KeyboardInterrupt), stack.attached():
            raise KeyboardInterrupt
        assert torch.equal(model(input_ids=IDS).logits, bare)
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_only_the_weights_have_a_gradient_and_it_is_the_slope(kitchen: Kitchen, registry: Registry) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        kitchen.parent(name, seed)
    model = real_model("llama").eval().double().requires_grad_(False)
    stack = stacked(model, registry, "a", "b")
    stack.layers = tuple(replace(x, a=x.a.double(), b=x.b.double()) for x in stack.layers)
    weights = torch.full((len(stack.blocks), 2), 0.3, dtype=torch.float64, requires_grad=True)

    def loss(at: torch.Tensor) -> torch.Tensor:
        stack.weights = at
        with stack.attached():
            return model(input_ids=IDS, labels=IDS).loss  # type: ignore[no-any-return]

    loss(weights).backward()  # type: ignore[no-untyped-call]
    assert weights.grad is not None
    assert all(tensor.grad is None for tensor in model.parameters())
    assert not any(tensor.requires_grad for layer in stack.layers for tensor in (layer.a, layer.b))
    for at in ((0, 0), (1, 1)):
        nudge = torch.zeros_like(weights)
        nudge[at] = 1e-2  # norms compute in float32, so less would be lost in rounding
        with torch.no_grad():
            slope = (loss(weights + nudge) - loss(weights - nudge)) / 2e-2
        assert float(weights.grad[at]) == pytest.approx(float(slope), rel=1e-2)


def test_a_weight_counts_in_its_own_block(kitchen: Kitchen, registry: Registry) -> None:
    kitchen.parent("a", 1)
    model = real_model("llama").eval()
    stack = stacked(model, registry, "a")
    assert stack.blocks == ("model.layers.0", "model.layers.1")
    stack.weights = torch.tensor([[0.0], [1.0]])
    seen: dict[str, torch.Tensor] = {}
    watched = [f"model.layers.{n}.self_attn.q_proj" for n in (0, 1)]
    for layer in stack.layers:
        path = next(p for p, module in model.named_modules() if module is layer.module)
        seen[path] = layer.added(torch.ones(1, layer.a.shape[1]), stack.weights[layer.block])
    assert not seen[watched[0]].any()
    assert seen[watched[1]].any()


def test_blocks_follow_the_model() -> None:
    paths = [
        "model.layers.10.mlp.up_proj",
        "model.layers.2.mlp.experts.7.w1",
        "lm_head",
        "model.embed_tokens",
    ]
    assert blocks_of(paths) == ("model.layers.2", "model.layers.10", REST)
    assert block_of("transformer.h.3.attn.c_attn") == "transformer.h.3"
    assert block_of("encoder.block.0.layer.1.DenseReluDense.wi") == "encoder.block.0"


def test_random_adapters_have_the_shapes_and_the_norms(kitchen: Kitchen, registry: Registry) -> None:
    kitchen.parent("a", 1)
    kitchen.parent("b", 2, r=2, lora_alpha=64)
    stack = stacked(real_model("llama"), registry, "a", "b")
    drawn, again = stack.at_random(3), stack.at_random(3)
    for real, other, same in zip(stack.layers, drawn.layers, again.layers, strict=True):
        assert torch.equal(other.a, same.a) and torch.equal(other.b, same.b)
        assert not torch.isclose(real.a, other.a).all()
        for one in (0, 1):
            ours = real.owner == one
            torch.testing.assert_close(other.a[ours].norm(), real.a[ours].norm())
            torch.testing.assert_close(other.b[:, ours].norm(), real.b[:, ours].norm())


def test_a_base_without_the_layers_is_named(kitchen: Kitchen, registry: Registry) -> None:
    kitchen.parent("a", 1)
    with pytest.raises(Incompatible, match=r"a@1 adapts model\.layers\.0") as told:
        stacked(real_model("gpt2"), registry, "a")
    assert told.value.code == "no-layer"

    def shorter(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        for key in tensors:
            if key.endswith("q_proj.lora_A.weight"):
                tensors[key] = tensors[key][:, :-1].contiguous()

    kitchen.parent("b", 2, change=shorter)
    with pytest.raises(Incompatible, match=r"b@1 has factors .* do not fit the Linear"):
        stacked(real_model("llama"), registry, "b")


def test_factors_that_are_no_numbers_are_named(kitchen: Kitchen, registry: Registry) -> None:
    def broken(config: dict[str, Any], tensors: dict[str, torch.Tensor]) -> None:
        next(iter(tensors.values()))[0, 0] = float("nan")

    version = kitchen.parent("a", 1, change=broken)
    assert any(t.isnan().any() for t in load_file(registry.file(version, WEIGHTS)).values())
    with pytest.raises(InvalidData, match="a@1 holds numbers that are none"):
        stacked(real_model("llama"), registry, "a")
