"""Target maps of the model families that lftreg knows, as a table.

PEFT matches a name as a dotted suffix of a module's path. So GPT-2's `c_proj` takes two modules of
each block, the attention's and the MLP's, and only `attn.c_proj` takes one. `classic` keeps the
names that most tutorials use, whatever they match.
"""

from __future__ import annotations

from collections.abc import Iterator

from lftreg.plugins import hookimpl
from lftreg.plugins.types import Targets

_GPT2_ATTENTION = ("attn.c_attn", "attn.c_proj")
_GPT2_MLP = ("mlp.c_fc", "mlp.c_proj")
_LLAMA_ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
_LLAMA_MLP = ("gate_proj", "up_proj", "down_proj")

GPT2 = Targets(
    family="gpt2",
    model_types=("gpt2", "gpt_bigcode"),
    presets={
        "all-linear": _GPT2_ATTENTION + _GPT2_MLP,
        "attention": _GPT2_ATTENTION,
        "mlp": _GPT2_MLP,
        "classic": ("c_attn", "c_proj"),
    },
)
# Every type whose blocks hold exactly these seven linear layers and no other.
LLAMA = Targets(
    family="llama",
    model_types=(
        "llama",
        "mistral",
        "ministral",
        "ministral3",
        "qwen2",
        "qwen3",
        "gemma",
        "gemma2",
        "gemma3_text",
        "olmo",
        "olmo2",
        "olmo3",
        "smollm3",
        "granite",
        "stablelm",
        "cohere",
        "cohere2",
        "exaone4",
        "helium",
        "seed_oss",
        "ernie4_5",
        "hunyuan_v1_dense",
    ),
    presets={
        "all-linear": _LLAMA_ATTENTION + _LLAMA_MLP,
        "attention": _LLAMA_ATTENTION,
        "mlp": _LLAMA_MLP,
        "classic": _LLAMA_ATTENTION,
    },
)

# LLaMA's blocks with query, key and value in one layer, gate and up in another.
PHI3 = Targets(
    family="phi3",
    model_types=("phi3",),
    presets={
        "all-linear": ("qkv_proj", "o_proj", "gate_up_proj", "down_proj"),
        "attention": ("qkv_proj", "o_proj"),
        "mlp": ("gate_up_proj", "down_proj"),
        "classic": ("qkv_proj", "o_proj"),
    },
)
_FUSED_MLP = ("dense_h_to_4h", "dense_4h_to_h")
NEOX = Targets(
    family="gpt_neox",
    model_types=("gpt_neox",),
    presets={
        "all-linear": ("query_key_value", "attention.dense", *_FUSED_MLP),
        "attention": ("query_key_value", "attention.dense"),
        "mlp": _FUSED_MLP,
        "classic": ("query_key_value",),
    },
)
FALCON = Targets(
    family="falcon",
    model_types=("falcon",),
    presets={
        "all-linear": ("query_key_value", "self_attention.dense", *_FUSED_MLP),
        "attention": ("query_key_value", "self_attention.dense"),
        "mlp": _FUSED_MLP,
        "classic": ("query_key_value",),
    },
)
# The first T5 has one layer before the activation (wi), its followers two (wi_0, wi_1).
_T5_MLP = ("wi", "wi_0", "wi_1", "wo")
T5 = Targets(
    family="t5",
    model_types=("t5", "mt5", "umt5", "longt5"),
    presets={
        "all-linear": ("q", "k", "v", "o", *_T5_MLP),
        "attention": ("q", "k", "v", "o"),
        "mlp": _T5_MLP,
        "classic": ("q", "k", "v", "o"),
    },
    optional=("wi", "wi_0", "wi_1"),
)
# A bare `dense` would take pooler and heads too, which classic does, as tutorials do.
_BERT_ATTENTION = ("query", "key", "value", "attention.output.dense")
_BERT_MLP = ("layer.*.intermediate.dense", "layer.*.output.dense")
BERT = Targets(
    family="bert",
    model_types=("bert", "roberta", "camembert", "xlm-roberta", "electra"),
    presets={
        "all-linear": (*_BERT_ATTENTION, *_BERT_MLP),
        "attention": _BERT_ATTENTION,
        "mlp": _BERT_MLP,
        "classic": ("query", "key", "value", "dense"),
    },
)


@hookimpl
def lftreg_targets() -> Iterator[Targets]:
    yield from (GPT2, LLAMA, PHI3, NEOX, FALCON, T5, BERT)
