"""Names for PEFT: what a preset takes, what is refused, and that PEFT takes exactly that."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import Incompatible, InvalidData, NotFound, UsageError
from lftreg.models.targets import Module, list_modules, modules_of, resolve_targets
from lftreg.models.tasks import CLASSIFY
from lftreg.plugins.builtin.families import BERT, FALCON, GPT2, LLAMA, NEOX, PHI3, T5
from lftreg.plugins.host import Host

HOST = Host(off=(), external=False)
SMALL: dict[str, Any] = {
    "num_hidden_layers": 3,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "vocab_size": 64,
    "pad_token_id": 0,
}
TINY_GPT2 = {"model_type": "gpt2", "n_layer": 2, "n_embd": 32, "n_head": 4, "vocab_size": 64}


def matched(modules: Sequence[Module], names: Sequence[str]) -> set[str]:
    """What PEFT's rule takes, written once more for the tests."""
    return {m.name for m in modules if any(m.name == n or m.name.endswith(f".{n}") for n in names)}


def linear(modules: Sequence[Module]) -> set[str]:
    return {m.name for m in modules if m.linear and not m.head}


def layers_of(*patterns: str, layers: int = 2) -> list[Module]:
    """A model with a block a layer; `{0}` in a pattern is the layer's number."""
    return [Module(p.format(i), "Linear", 4, 4) for i in range(layers) for p in patterns]


# The table of families against real models.


DECODERS = [t for family in (LLAMA, GPT2, PHI3, NEOX, FALCON) for t in family.model_types]


@pytest.mark.parametrize("model_type", DECODERS)
def test_all_linear_of_a_known_family_is_every_linear_layer_but_the_head(model_type: str) -> None:
    small = {name: value for name, value in SMALL.items() if (model_type, name) != ("falcon", "head_dim")}
    modules = list_modules({"model_type": model_type, "n_layer": 3, "n_embd": 32, "n_head": 4} | small)
    names = resolve_targets(modules, model_type, "all-linear", HOST, tell=pytest.fail)
    assert matched(modules, names) == linear(modules)
    attention, mlp = (resolve_targets(modules, model_type, p, HOST) for p in ("attention", "mlp"))
    assert matched(modules, attention) == {n for n in linear(modules) if "attn." in n or "attention." in n}
    assert matched(modules, mlp) == {n for n in linear(modules) if ".mlp." in n}


def test_classic_is_what_tutorials_name() -> None:
    gpt2 = list_modules(TINY_GPT2)
    assert resolve_targets(gpt2, "gpt2", "classic", HOST, tell=pytest.fail) == ("c_attn", "c_proj")
    llama = list_modules({"model_type": "llama"} | SMALL)
    assert resolve_targets(llama, "llama", "classic", HOST) == ("q_proj", "k_proj", "v_proj", "o_proj")


@pytest.mark.parametrize("model_type", BERT.model_types)
def test_all_linear_of_an_encoder_is_its_layers_and_no_head(model_type: str) -> None:
    """A bare `dense` takes the pooler and the heads too: 13 modules of two layers, not 8."""
    modules = list_modules({"model_type": model_type} | SMALL, CLASSIFY)
    layers = {m.name for m in modules if m.linear and ".layer." in m.name}
    everything, attention, mlp = (
        matched(modules, resolve_targets(modules, model_type, preset, HOST, tell=pytest.fail))
        for preset in ("all-linear", "attention", "mlp")
    )
    assert everything == layers
    assert attention == {name for name in layers if ".attention." in name}
    assert mlp == layers - attention
    classic = matched(modules, resolve_targets(modules, model_type, "classic", HOST))
    outside = {m.name for m in modules if m.linear and m.name.endswith("dense")} - layers
    assert classic == layers | outside


def test_a_bare_dense_of_roberta_takes_its_classifier_too() -> None:
    modules = list_modules({"model_type": "roberta"} | SMALL, CLASSIFY)
    assert "classifier.dense" in matched(modules, resolve_targets(modules, "roberta", "classic", HOST))


@pytest.mark.parametrize("kind", T5.model_types)
@pytest.mark.parametrize("feed", ["relu", "gated-gelu"])
def test_t5_has_one_feed_forward_or_the_other(kind: str, feed: str) -> None:
    small = {"d_model": 32, "d_ff": 64, "num_layers": 2, "num_heads": 4, "d_kv": 8, "vocab_size": 64}
    modules = list_modules({"model_type": kind, "feed_forward_proj": feed, **small})
    names = resolve_targets(modules, kind, "all-linear", HOST, tell=pytest.fail)
    assert matched(modules, names) == linear(modules)
    assert ("wi" in names) == (feed == "relu")
    classic = matched(modules, resolve_targets(modules, kind, "classic", HOST, tell=pytest.fail))
    assert classic == {n for n in linear(modules) if "Attention." in n}
    with pytest.raises(NotFound, match="'wi_7'"):
        resolve_targets(modules, kind, "wi_7", HOST)


def test_mixtrals_experts_are_no_linear_layers() -> None:
    modules = list_modules({"model_type": "mixtral", "num_local_experts": 2} | SMALL)
    names = resolve_targets(modules, "mixtral", "all-linear", HOST)
    assert names == ("k_proj", "o_proj", "q_proj", "v_proj")
    with pytest.raises(Incompatible, match="which is no linear layer"):
        resolve_targets(modules, "mixtral", "experts", HOST)


SEEING = {
    "llava": {
        "vision_config": {"model_type": "clip_vision_model", **SMALL, "image_size": 32, "patch_size": 16}
    },
    "smolvlm": {"vision_config": {**SMALL, "image_size": 32, "patch_size": 16}},
    "paligemma": {
        "vision_config": {"model_type": "siglip_vision_model", **SMALL, "image_size": 32, "patch_size": 16}
    },
}


@pytest.mark.parametrize("model_type", SEEING)
def test_of_a_model_that_sees_only_the_language_is_adapted(model_type: str) -> None:
    """A bare q_proj hits the vision tower too, which no text ever passes."""
    import torch
    import transformers

    text = {"model_type": "gemma" if model_type == "paligemma" else "llama", **SMALL}
    config = transformers.AutoConfig.for_model(model_type, text_config=text, **SEEING[model_type])
    with torch.device("meta"):
        model = transformers.AutoModelForImageTextToText.from_config(config)
    modules = modules_of(model)
    told: list[str] = []
    names = resolve_targets(modules, model_type, "q_proj", HOST, tell=told.append)
    hit = matched(modules, names)
    assert len(hit) == 3
    assert not any("vision" in name for name in hit)
    assert "is also in the part that sees" in told[0]
    every = matched(modules, resolve_targets(modules, model_type, "all-linear", HOST))
    assert hit < every
    assert not any("vision" in name for name in every)
    with pytest.raises(Incompatible, match="which text never passes"):
        resolve_targets(modules, model_type, "fc1", HOST)


def test_a_star_stands_for_one_part_of_a_path() -> None:
    modules = layers_of("layers.{0}.attn.out", "layers.{0}.out")
    assert resolve_targets(modules, "strange", "layers.*.out", HOST) == ("layers.0.out", "layers.1.out")
    with pytest.raises(NotFound):
        resolve_targets(modules, "strange", "layers.*.*.*.out", HOST)


def test_attention_of_gpt2_leaves_the_mlp_alone() -> None:
    """`c_proj` by itself would take mlp.c_proj as well."""
    modules = list_modules(TINY_GPT2)
    names = resolve_targets(modules, "gpt2", "attention", HOST)
    assert names == ("attn.c_attn", "attn.c_proj")
    assert not any("mlp" in name for name in matched(modules, names))
    assert any("mlp" in name for name in matched(modules, ("c_attn", "c_proj")))


@pytest.mark.parametrize(
    ("base", "wanted"),
    [
        *itertools.product(("tiny_gpt2", "tiny_llama"), ("all-linear", "attention", "mlp", "classic")),
        ("tiny_gpt2", "c_proj"),
        ("tiny_llama", "layers.1.self_attn.q_proj,down_proj"),
    ],
)
def test_peft_adapts_exactly_what_was_checked(base: str, wanted: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(request.getfixturevalue(base))
    modules = modules_of(model)
    names = resolve_targets(model, model.config.model_type, wanted, HOST)
    assert _adapted(model, names) == matched(modules, names)


@pytest.mark.parametrize("model_type", ["opt", "gpt_neox", "phi3", "bloom", "qwen2_moe", "gpt2"])
def test_an_unknown_family_gets_every_linear_layer_as_peft_itself_would(model_type: str) -> None:
    import torch
    import transformers

    extra = {"ffn_dim": 64, "word_embed_proj_dim": 32, "n_layer": 2, "n_embd": 32, "n_head": 4}
    config = transformers.AutoConfig.for_model(model_type, **SMALL, **extra)
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    modules = modules_of(model)
    told: list[str] = []
    names = resolve_targets(modules, "never-heard-of", "all-linear", HOST, tell=told.append)
    assert told == [
        f"no target map for 'never-heard-of': adapting every linear layer but the head ({', '.join(names)})"
    ]
    assert matched(modules, names) == linear(modules) != set()
    assert _adapted(model, "all-linear") == linear(modules)


def _adapted(model: Any, names: Any) -> set[str]:
    from peft import LoraConfig, get_peft_model
    from peft.tuners.lora import LoraLayer

    wanted = names if isinstance(names, str) else list(names)
    adapted = get_peft_model(model, LoraConfig(r=1, target_modules=wanted, task_type="CAUSAL_LM"))
    found = adapted.base_model.model.named_modules()
    return {name for name, module in found if isinstance(module, LoraLayer)}


# Names that a user types.


def test_names_and_presets_may_be_mixed_and_repeated() -> None:
    modules = list_modules(TINY_GPT2)
    names = resolve_targets(modules, "gpt2", " attention , mlp.c_fc,attn.c_attn", HOST)
    assert names == ("attn.c_attn", "attn.c_proj", "mlp.c_fc")


@pytest.mark.parametrize("wanted", ["", " ", "q_proj,,v_proj", "q_proj,"])
def test_an_empty_name_is_refused(wanted: str) -> None:
    with pytest.raises(UsageError, match="empty target name"):
        resolve_targets(layers_of("layers.{0}.q_proj"), "llama", wanted, HOST)


@pytest.mark.parametrize(
    ("wanted", "near"),
    [("q_prj", "q_proj"), ("atention", "attention"), ("mlp.c_attn", "c_attn"), ("transformer.x", None)],
)
def test_a_name_that_hits_nothing_gets_a_suggestion(wanted: str, near: str | None) -> None:
    modules = [*list_modules(TINY_GPT2), *layers_of("layers.{0}.q_proj")]
    with pytest.raises(NotFound) as caught:
        resolve_targets(modules, "gpt2", wanted, HOST)
    question = f" Did you mean {near!r}?" if near else ""
    assert caught.value.message == f"no module of this gpt2 model is called {wanted!r}.{question}"
    assert "known here: all-linear, attention, mlp, classic, c_attn, c_fc, c_proj" in str(caught.value.hint)


def test_a_part_of_a_name_is_no_match() -> None:
    """`proj` is no dotted suffix of `q_proj`."""
    with pytest.raises(NotFound):
        resolve_targets(layers_of("layers.{0}.q_proj"), "llama", "proj", HOST)


def test_a_preset_of_an_unknown_family_is_not_known() -> None:
    with pytest.raises(NotFound, match="no module of this strange model is called 'attention'"):
        resolve_targets(layers_of("layers.{0}.q_proj"), "strange", "attention", HOST)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([0, 1, 2, 5], "'x' is in layers 0-2, 5 of model.layers only; layers 3-4 lack it"),
        ([3], "'x' is in layer 3 of model.layers only; layers 0-2, 4-5 lack it"),
        ([0, 1, 2, 3, 4], "'x' is in layers 0-4 of model.layers only; layer 5 lacks it"),
    ],
)
def test_a_name_that_only_some_layers_hold_is_refused(layers: list[int], message: str) -> None:
    modules = layers_of("model.layers.{0}.q", layers=6)
    modules += [Module(f"model.layers.{i}.x", "Linear", 4, 4) for i in layers]
    with pytest.raises(Incompatible) as caught:
        resolve_targets(modules, "strange", "q,x", HOST)
    assert caught.value.message == message
    assert caught.value.code == "partial-target"
    assert f"model.layers.{layers[0]}.x" in str(caught.value.hint)


def test_a_real_model_whose_layers_differ() -> None:
    """Of a mixture of experts with one dense layer, `mlp.gate_proj` would train that layer only."""
    config = {"model_type": "qwen2_moe", "mlp_only_layers": [1], "num_experts": 4} | SMALL
    modules = list_modules(config)
    with pytest.raises(Incompatible, match=r"is in layer 1 of model\.layers only; layers 0, 2 lack it"):
        resolve_targets(modules, "qwen2_moe", "mlp.gate_proj", HOST)
    assert resolve_targets(modules, "qwen2_moe", "gate_proj", HOST) == ("gate_proj",)
    assert matched(modules, resolve_targets(modules, "qwen2_moe", "all-linear", HOST)) == linear(modules)


def test_a_layer_named_by_its_number_is_meant() -> None:
    modules = list_modules(TINY_GPT2)
    names = resolve_targets(modules, "gpt2", "h.1.attn.c_attn", HOST)
    assert matched(modules, names) == {"transformer.h.1.attn.c_attn"}


def test_a_name_in_one_of_two_stacks_is_whole() -> None:
    """An encoder without cross-attention lacks nothing that a decoder has."""
    modules = layers_of("encoder.layers.{0}.q", "decoder.layers.{0}.q", "decoder.layers.{0}.cross")
    assert resolve_targets(modules, "strange", "cross", HOST) == ("cross",)


def test_experts_count_for_the_layer_that_holds_them() -> None:
    modules = layers_of("layers.{0}.experts.0.up", "layers.{0}.experts.1.up", "layers.{0}.q")
    told: list[str] = []
    assert resolve_targets(modules, "strange", "up", HOST, tell=told.append) == ("up",)
    assert told == []


def test_a_name_that_takes_several_modules_of_a_block_is_told_of() -> None:
    told: list[str] = []
    resolve_targets(list_modules(TINY_GPT2), "gpt2", "c_proj", HOST, tell=told.append)
    assert told == [
        "'c_proj' takes transformer.h.*.attn.c_proj and transformer.h.*.mlp.c_proj; "
        "a longer name takes only one of them"
    ]


@pytest.mark.parametrize("wanted", ["attn", "wte", "h.0", "ln_1"])
def test_what_is_not_linear_is_refused(wanted: str) -> None:
    with pytest.raises(Incompatible, match="which is no linear layer"):
        resolve_targets(list_modules(TINY_GPT2), "gpt2", wanted, HOST)


def test_the_head_can_be_named() -> None:
    modules = list_modules(TINY_GPT2)
    assert [module.name for module in modules if module.head] == ["lm_head"]
    assert resolve_targets(modules, "gpt2", "lm_head", HOST) == ("lm_head",)


def test_fallback_names_tell_a_linear_layer_from_its_namesakes() -> None:
    modules = [
        *layers_of("layers.{0}.up", "layers.{0}.mlp.0", "layers.{0}.mlp.2"),
        Module("norm.up", "LayerNorm"),
        Module("layers", "ModuleList"),
        *[Module(f"layers.{i}", "Block") for i in range(2)],
        Module("out", "Linear", 4, 4, head=True),
    ]
    names = resolve_targets(modules, "strange", "all-linear", HOST)
    assert names == ("layers.0.up", "layers.1.up", "mlp.0", "mlp.2")
    assert matched(modules, names) == linear(modules)


def test_a_model_without_linear_layers_is_refused() -> None:
    with pytest.raises(Incompatible, match="no linear layer"):
        resolve_targets([Module("convolution", "Conv2d")], "strange", "all-linear", HOST)


# What a config.json describes.


def test_modules_are_listed_without_weights(tiny_llama: Path, tmp_path: Path) -> None:
    config = json.loads((tiny_llama / "config.json").read_text())
    from transformers import AutoModelForCausalLM

    listed = list_modules(config)
    assert listed == modules_of(AutoModelForCausalLM.from_pretrained(tiny_llama))
    shapes = {module.name: (module.inputs, module.outputs) for module in listed}
    assert shapes["model.layers.0.mlp.down_proj"] == (64, 32)
    assert shapes["model.layers.0.self_attn.k_proj"] == (32, 16)
    assert shapes["model.norm"] == (None, None)


def test_gpt2s_transposed_layers_have_their_features_the_right_way_round() -> None:
    shapes = {module.name: module for module in list_modules(TINY_GPT2)}
    attention = shapes["transformer.h.0.attn.c_attn"]
    assert (attention.kind, attention.inputs, attention.outputs) == ("Conv1D", 32, 96)


@pytest.mark.parametrize(
    "config",
    [
        {"model_type": "no-such-model"},
        {"model_type": "vit"},
        {"model_type": "llama", "hidden_size": "wide"},
        {"model_type": "llama", "hidden_size": 30, "num_attention_heads": 0},
    ],
)
def test_a_config_that_makes_no_language_model_is_refused(config: dict[str, Any]) -> None:
    with pytest.raises(InvalidData, match="no causal language model can be built"):
        list_modules(config)
