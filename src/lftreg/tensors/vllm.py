"""What vLLM can serve, worked out from a configuration and the names and shapes of tensors alone.

The rules are those of vLLM 0.33: what its PEFTHelper refuses, what its loader cannot name, and which of its models
take adapters at all. vLLM itself would say so only when the first request comes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lftreg.tensors.header import TensorInfo

# `max_lora_rank` is one of these; an adapter needs the next larger one.
VLLM_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
# Inits that only set where the factors begin. Every other named one changes the base that they are added to.
PLAIN_INITS = ("gaussian", "eva", "orthogonal", "mica", "lora_ga")
HEADS = ("classifier", "score")
_FLAGS = {
    "use_dora": "it is a DoRA",
    "lora_bias": "its factors have biases (lora_bias)",
    "use_qalora": "it is a QALoRA",
    "use_bdlora": "it is a block-diagonal LoRA (use_bdlora)",
    "alora_invocation_tokens": "it is an activated LoRA (aLoRA), which works on a part of the text only",
    "layer_replication": "it repeats layers of its base (layer_replication)",
    "target_parameters": "it adapts bare parameters (target_parameters), which few models of vLLM take",
    "trainable_token_indices": "it trains rows of the embedding (trainable_token_indices)",
}
# Models without adapters in vLLM, or not in vLLM at all, by their model_type.
NO_LORA = frozenset(
    (
        "gpt2", "gptj", "bloom", "falcon", "falcon_mamba", "mamba", "mamba2", "zamba2", "dbrx", "stablelm", "orion",
        "gemma3n_text", "cohere2_moe", "t5", "mt5", "umt5", "bart", "mbart", "pegasus", "marian",
    )
)  # fmt: skip
ENCODERS = frozenset(("bert", "roberta", "xlm-roberta"))  # with a head for labels, but not for hidden words
_LLAMA = frozenset(("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
# The linear layers of a block by their names, for the families where all of them are known.
LAYERS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(
        ("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "granite", "cohere"), _LLAMA
    ),
    "phi3": frozenset(("qkv_proj", "o_proj", "gate_up_proj", "down_proj")),
    "gpt_neox": frozenset(("query_key_value", "dense", "dense_h_to_4h", "dense_4h_to_h")),
    **dict.fromkeys(ENCODERS, frozenset(("query", "key", "value", "dense"))),
}
# Which of them take factors of the embedding and of the layer that makes logits.
EMBEDDINGS: Mapping[str, frozenset[str]] = {
    **dict.fromkeys(("llama", "qwen3", "phi3", "mixtral", "granite"), frozenset(("embed_tokens", "lm_head"))),
    "cohere": frozenset(("embed_tokens",)),
}
_FACTORS = (".lora_A.weight", ".lora_B.weight", ".lora_embedding_A", ".lora_embedding_B")
_OF_BASE = (".embed_tokens.base_layer.weight", ".lm_head.base_layer.weight")  # passed over


def vllm_rank(rank: int) -> int | None:
    """The least `max_lora_rank` of vLLM that takes an adapter of this rank; None where none does."""
    return next((one for one in VLLM_RANKS if one >= rank), None)


def largest_rank(config: Mapping[str, Any]) -> int:
    """The rank that vLLM compares with `max_lora_rank`: of all modules, named by patterns or not."""
    return int(max([config["r"], *(config.get("rank_pattern") or {}).values()]))


def refusals(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], model_type: str | None
) -> tuple[str, ...]:
    """Why vLLM cannot serve an adapter, a clause each; empty where it can.

    `model_type` is that of the base, None where it is not known; then its models are not judged.
    """
    found = [*_of_config(config), *_of_model(config, model_type), *_of_tensors(config, tensors, model_type)]
    return tuple(dict.fromkeys(found))


def _of_config(config: Mapping[str, Any]) -> Iterator[str]:
    for name, words in _FLAGS.items():
        if config.get(name):
            yield words
    begun = config.get("init_lora_weights", True)
    if isinstance(begun, str) and begun.lower() not in PLAIN_INITS:
        yield f"it began as {begun}, which changes the weights of the base"
    if config.get("bias", "none") != "none":
        yield f"it trains biases of the base (bias={config['bias']})"
    saved = config.get("modules_to_save") or []
    whole = [name for name in saved if name not in HEADS]
    if whole:
        yield f"it keeps whole modules ({', '.join(whole)}); vLLM takes {' or '.join(HEADS)} of a classifier"
    elif len(saved) > 1:
        yield "it keeps two heads, and vLLM takes one"
    rank = largest_rank(config)
    if vllm_rank(rank) is None:
        yield f"its rank is {rank}, above {VLLM_RANKS[-1]}"


def _of_model(config: Mapping[str, Any], model_type: str | None) -> Iterator[str]:
    if model_type in NO_LORA:
        yield f"vLLM takes no adapters on {model_type} models"
    elif model_type in ENCODERS and config.get("task_type") != "SEQ_CLS":
        yield f"vLLM serves adapters of {model_type} for labels only"


def _of_tensors(
    config: Mapping[str, Any], tensors: Mapping[str, TensorInfo], model_type: str | None
) -> Iterator[str]:
    layers = LAYERS.get(model_type or "")
    saved = config.get("modules_to_save") or ()
    for name, info in tensors.items():
        if name.endswith(_OF_BASE):
            continue
        end = next((end for end in _FACTORS if name.endswith(end)), None)
        if end is None:
            if not _is_head(name, saved):
                yield f"vLLM cannot read {_short(name)}"
            continue
        module = name.removesuffix(end).rpartition(".")[2]
        if len(info.shape) != 2:
            yield f"{module} is a convolution, and vLLM adapts linear layers"
        elif module in ("embed_tokens", "lm_head") or "embedding" in end:
            if model_type is not None and module not in EMBEDDINGS.get(model_type, ()):
                yield f"vLLM takes no factors for {module} of {model_type} models"
        elif layers is not None and module not in layers and module not in saved:
            yield f"{module} is no layer that vLLM adapts in {model_type} models ({', '.join(sorted(layers))})"


def _is_head(name: str, saved: Any) -> bool:
    """Whether vLLM reads a tensor as that of a head: directly under its name, and in no layer within."""
    *_, module, part = ["", *name.split(".")]
    return module in HEADS and module in saved and part in ("weight", "bias")


def _short(name: str) -> str:
    """A tensor without the number of its layer, so that sixty of them are one reason."""
    parts = name.removeprefix("base_model.model.").split(".")
    return ".".join("*" if part.isdigit() else part for part in parts)
