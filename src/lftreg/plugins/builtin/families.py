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


@hookimpl
def lftreg_targets() -> Iterator[Targets]:
    yield GPT2
    yield LLAMA
