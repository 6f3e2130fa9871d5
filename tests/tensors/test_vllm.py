"""Whether vLLM can serve an adapter: each reason by itself, from a configuration, names and shapes alone."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from lftreg.tensors import TensorInfo
from lftreg.tensors.vllm import VLLM_RANKS, largest_rank, refusals, vllm_rank

PLAIN: dict[str, Any] = {
    "peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "bias": "none",
    "init_lora_weights": True, "use_dora": False, "modules_to_save": None, "rank_pattern": {},
}  # fmt: skip


def factors(module: str, *, kind: str = "lora", more: Iterable[str] = ()) -> dict[str, TensorInfo]:
    """The two factors of a module, and other tensors by their names."""
    ends = {
        "lora": (".lora_A.weight", ".lora_B.weight"),
        "embedding": (".lora_embedding_A", ".lora_embedding_B"),
    }
    shapes = ((4, 8), (8, 4))
    named = {
        f"base_model.model.{module}{end}": shape for end, shape in zip(ends[kind], shapes, strict=True)
    } | dict.fromkeys(more, (8,))
    return {name: TensorInfo("F32", shape, 0, 0) for name, shape in named.items()}


QUERY = factors("model.layers.0.self_attn.q_proj")


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen3", "gemma", "unheard_of", None])
def test_a_plain_lora_is_served(model_type: str | None) -> None:
    assert refusals(PLAIN, QUERY, model_type) == ()
    assert refusals(PLAIN | {"use_rslora": True, "rank_pattern": {"q_proj": 8}}, QUERY, model_type) == ()


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"lora_bias": True}, "lora_bias"),
        ({"bias": "all"}, "bias=all"),
        ({"use_qalora": True}, "QALoRA"),
        ({"use_bdlora": {"nblocks": 2}}, "block-diagonal"),
        ({"alora_invocation_tokens": [1, 2]}, "aLoRA"),
        ({"layer_replication": [[0, 2]]}, "layer_replication"),
        ({"target_parameters": ["experts.gate_up_proj"]}, "target_parameters"),
        ({"trainable_token_indices": [5]}, "trainable_token_indices"),
        ({"modules_to_save": ["lm_head"]}, "whole modules (lm_head)"),
        ({"modules_to_save": ["score", "classifier"]}, "two heads"),
        ({"r": 1024}, "rank is 1024, above 512"),
        ({"rank_pattern": {"q_proj": 640}}, "rank is 640"),
        *(({"init_lora_weights": name}, name) for name in ("pissa", "pissa_niter_16", "olora", "corda", "loftq")),
    ],
)  # fmt: skip
def test_what_its_configuration_forbids(changed: dict[str, Any], said: str) -> None:
    (why,) = refusals(PLAIN | changed, QUERY, "llama")
    assert said in why


@pytest.mark.parametrize("name", ["gaussian", "eva", "orthogonal", True, False])
def test_inits_that_leave_the_base_alone(name: Any) -> None:
    assert refusals(PLAIN | {"init_lora_weights": name}, QUERY, "llama") == ()


@pytest.mark.parametrize("model_type", ["gpt2", "falcon", "t5"])
def test_models_without_adapters(model_type: str) -> None:
    (why,) = refusals(PLAIN, factors("transformer.h.0.attn.c_attn"), model_type)
    assert why == f"vLLM takes no adapters on {model_type} models"


def test_encoders_are_served_for_labels_only() -> None:
    query = factors("bert.encoder.layer.0.attention.self.query")
    assert refusals(PLAIN | {"task_type": "SEQ_CLS"}, query, "bert") == ()
    assert refusals(PLAIN, query, "bert") == ("vLLM serves adapters of bert for labels only",)


def test_the_head_of_a_classifier() -> None:
    labels = PLAIN | {"task_type": "SEQ_CLS", "modules_to_save": ["classifier"]}
    head = [f"base_model.model.classifier.{part}" for part in ("weight", "bias")]
    query = "bert.encoder.layer.0.attention.self.query"
    assert refusals(labels, factors(query, more=head), "bert") == ()
    deep = [f"base_model.model.classifier.dense.{part}" for part in ("weight", "bias")]
    assert refusals(labels, factors(query, more=deep), "roberta") == (
        "vLLM cannot read classifier.dense.weight", "vLLM cannot read classifier.dense.bias",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("module", "model_type", "served"),
    [
        ("model.embed_tokens", "llama", True),
        ("model.embed_tokens", "mistral", False),
        ("lm_head", "qwen3", True),
        ("lm_head", "qwen2", False),
        ("transformer.wte", "opt", False),
    ],
)
def test_embeddings_by_family(module: str, model_type: str, served: bool) -> None:
    found = refusals(PLAIN, factors(module, kind="lora" if "head" in module else "embedding"), model_type)
    assert (not found) is served
    if not served:
        assert f"no factors for {module.rpartition('.')[2]} of {model_type}" in found[0]


def test_a_layer_that_the_family_has_not_is_one_reason_for_all_its_layers() -> None:
    many = factors("model.layers.0.mlp.router") | factors("model.layers.1.mlp.router")
    (why,) = refusals(PLAIN, many, "llama")
    assert why.startswith("router is no layer that vLLM adapts in llama models")
    assert refusals(PLAIN, many, "unheard_of") == ()


def test_tensors_that_it_cannot_name() -> None:
    more = [f"base_model.model.model.layers.{n}.self_attn.q_proj.lora_B.bias" for n in range(3)]
    (why,) = refusals(PLAIN, factors("model.layers.0.self_attn.q_proj", more=more), "llama")
    assert why == "vLLM cannot read model.layers.*.self_attn.q_proj.lora_B.bias"
    conv = {name: TensorInfo("F32", (4, 8, 3, 3), 0, 0) for name in QUERY}
    assert refusals(PLAIN, conv, None) == ("q_proj is a convolution, and vLLM adapts linear layers",)


def test_ranks() -> None:
    assert [vllm_rank(rank) for rank in (1, 2, 8, 9, 300, 512, 513)] == [1, 8, 8, 16, 320, 512, None]
    assert largest_rank(PLAIN | {"rank_pattern": {"k_proj": 24}}) == 24
    assert VLLM_RANKS[-1] == 512
