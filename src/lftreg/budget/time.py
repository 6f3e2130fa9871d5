"""The time of a training run, and its price, by counting the multiplications of a token.

Forward takes 2 FLOPs for every weight that a token passes (Kaplan et al. 2020, arXiv 2001.08361, section 2.1). A frozen
weight takes 2 more backward, for the gradient of its input; an adapter's takes 4, its own too. Scores and weighted
sums of causal attention take 2 d T forward in every layer, with d the width of all heads and T the length of a
row, and twice that backward. Gradient checkpointing does forward once more.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lftreg.budget.devices import Device
from lftreg.models.targets import Module, adapted_by

# The share of `float32` that is reached: without tensor cores it is arithmetic that is waited for.
FLOAT32_UTILISATION = 0.6
# A GPU is told of every operation by one thread: 126 ms a step of 16 layers with 7 adapters each, however few the
# tokens (Llama 1B shape, 1 x 256, PEFT, eager, H200).
LAUNCH = 0.126 / (16 * 7)


@dataclass(frozen=True, slots=True)
class Work:
    """What a token passes: numbers of weights, by where they are.

    `layers` are the frozen products, `head` the one that makes logits (for learned tokens alone), `adapter` the
    factors. `attention` is the width of all heads of all layers. `adapted` counts the layers with factors.
    """

    layers: int
    head: int
    adapter: int
    attention: int
    adapted: int


@dataclass(frozen=True, slots=True)
class Cost:
    """Of a run: multiplications and additions, seconds, US dollars where a price is known."""

    flops: float
    seconds: float
    dollars: float | None


def work_of(modules: Sequence[Module], config: Mapping[str, Any], targets: Sequence[str], rank: int) -> Work:
    """The work of a base with these modules (`list_modules`) and this `config.json`, adapted at `targets`."""
    linear = [module for module in modules if module.linear]
    adapted = adapted_by(targets, linear)
    return Work(
        layers=sum(_weights(module) for module in linear if not module.head) + _experts(config, linear),
        head=sum(_weights(module) for module in linear if module.head),
        adapter=sum(rank * ((m.inputs or 0) + (m.outputs or 0)) for m in adapted),
        attention=_attention(config),
        adapted=len(adapted),
    )


def estimate(
    work: Work,
    device: Device,
    *,
    tokens: int,
    length: float,
    batches: int,
    learned: int | None = None,
    validated: int = 0,
    dtype: str = "bfloat16",
    gradient_checkpointing: bool = False,
    price_per_hour: float | None = None,
) -> Cost:
    """Time and price of a run that trains on `tokens` in `batches` micro-batches, in rows of `length` on average.

    `tokens` counts every pass and all that rows are filled up with; `learned` of them have logits (all, where it is
    left out). `validated` tokens are computed without gradients. `price_per_hour` wins over the device's.
    """
    learned = tokens if learned is None else learned
    again = 1 if gradient_checkpointing else 0
    scores = 2 * work.attention * length
    forward = 2 * work.layers + 2 * work.adapter + scores
    backward = 2 * work.layers + 4 * work.adapter + 2 * scores
    flops = tokens * ((1 + again) * forward + backward) + learned * 4 * work.head
    flops += validated * (forward + 2 * work.head)
    half = dtype == "bfloat16" and device.gpu
    rate = device.bfloat16 * device.utilisation if half else device.float32 * _float32_share(device)
    waits = batches * work.adapted * LAUNCH * (3 + again) / 3 if device.gpu else 0.0
    seconds = max(flops / rate, waits)
    price = device.price if price_per_hour is None else price_per_hour
    return Cost(flops, seconds, None if price is None else price * seconds / 3600)


def _float32_share(device: Device) -> float:
    return FLOAT32_UTILISATION if device.gpu else device.utilisation


def _weights(module: Module) -> int:
    return (module.inputs or 0) * (module.outputs or 0)


def _attention(config: Mapping[str, Any]) -> int:
    """The width of all heads of all layers; 0 where a configuration does not say it by a usual name."""
    width = _first(config, "num_attention_heads", "n_head", "num_heads") * _first(config, "head_dim", "d_kv")
    return _layers(config) * (width or _hidden(config))


def _experts(config: Mapping[str, Any], linear: Sequence[Module]) -> int:
    """Weights of the experts that a token passes, where they are no layers of their own but one stack of a block's.

    Each has three products, as of a gated MLP. Every block is taken to have experts.
    """
    chosen = _first(config, "num_experts_per_tok")
    if not chosen or any(".experts." in module.name for module in linear):
        return 0
    inner = _first(config, "moe_intermediate_size", "intermediate_size")
    return _layers(config) * chosen * 3 * _hidden(config) * inner


def _layers(config: Mapping[str, Any]) -> int:
    return _first(config, "num_hidden_layers", "n_layer", "num_layers")


def _hidden(config: Mapping[str, Any]) -> int:
    return _first(config, "hidden_size", "n_embd", "d_model")


def _first(config: Mapping[str, Any], *names: str) -> int:
    """The first of these numbers that a configuration has, or that of its part for text; 0 without."""
    text = config.get("text_config") or config
    return next((int(text[name]) for name in names if isinstance(text.get(name), int)), 0)


def break_even(training: float, adapter: float, other: float) -> int | None:
    """After how many queries training is paid back: training / (other - adapter), rounded up. All in one unit.

    None where a query saves nothing, or too little to count.
    """
    saving = other - adapter
    count = training / saving if saving > 0 else math.inf
    return math.ceil(count) if math.isfinite(count) else None
