"""Multiplications are counted as by hand; a price is never made up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lftreg.budget.devices import CPU, Device
from lftreg.budget.time import LAUNCH, Work, estimate, work_of
from lftreg.models.targets import list_modules
from tests.budget.test_memory import ALL, GPT2, INNER, KV, LAYERS, LINEAR, LLAMA, RANK, WIDTH, WORDS

GPU = Device("one", None, bfloat16=2e12, float32=5e11, utilisation=0.5, price=2.0, seen="here, 2026-11-24")
WORK = Work(layers=1000, head=100, adapter=10, attention=8, adapted=7)


def test_a_model_is_counted_as_by_hand() -> None:
    work = work_of(list_modules(LLAMA), LLAMA, ALL, RANK)
    block = sum(i * o for i, o in LINEAR)
    factors = sum(RANK * (i + o) for i, o in LINEAR)
    assert work == Work(LAYERS * block, WIDTH * WORDS, LAYERS * factors, LAYERS * WIDTH, 7 * LAYERS)
    assert KV < WIDTH < INNER


def test_gpt2_names_its_sizes_otherwise() -> None:
    work = work_of(list_modules(GPT2), GPT2, ("c_attn",), RANK)
    assert work.layers == LAYERS * 12 * WIDTH * WIDTH
    assert work.adapter == LAYERS * RANK * 4 * WIDTH
    assert work.attention == LAYERS * WIDTH
    assert work.adapted == LAYERS


def test_of_experts_those_chosen_are_counted() -> None:
    sizes = {"num_local_experts": 8, "num_experts_per_tok": 2, "head_dim": WIDTH // 4}
    mixtral = LLAMA | sizes | {"model_type": "mixtral"}
    work = work_of(list_modules(mixtral), mixtral, ("q_proj",), RANK)
    attention = sum(i * o for i, o in LINEAR[:4])
    products = attention + 2 * 3 * WIDTH * INNER
    assert (
        LAYERS * products <= work.layers <= LAYERS * (products + 8 * WIDTH)
    )  # what chooses them, too, where linear


def test_flops_of_a_token() -> None:
    cost = estimate(WORK, GPU, tokens=1, length=50, batches=0)
    assert cost.flops == 4 * 1000 + 4 * 100 + 6 * 10 + 6 * 8 * 50
    again = estimate(WORK, GPU, tokens=1, length=50, batches=0, gradient_checkpointing=True)
    assert again.flops - cost.flops == 2 * 1000 + 2 * 10 + 2 * 8 * 50
    fewer = estimate(WORK, GPU, tokens=10, length=50, batches=0, learned=4)
    assert fewer.flops == 10 * (4 * 1000 + 6 * 10 + 6 * 8 * 50) + 4 * 4 * 100
    more = estimate(WORK, GPU, tokens=1, length=50, batches=0, validated=1)
    assert more.flops - cost.flops == 2 * 1000 + 2 * 100 + 2 * 10 + 2 * 8 * 50


def test_seconds_by_the_device() -> None:
    half = estimate(WORK, GPU, tokens=10**9, length=50, batches=1)
    assert half.seconds == pytest.approx(half.flops / 1e12)
    whole = estimate(WORK, GPU, tokens=10**9, length=50, batches=1, dtype="float32")
    assert whole.seconds == pytest.approx(whole.flops / 3e11)
    cpu = replace(GPU, name=CPU)
    assert estimate(WORK, cpu, tokens=10**9, length=50, batches=1).seconds == pytest.approx(
        half.flops / 2.5e11
    )


def test_few_tokens_wait_for_the_host() -> None:
    cost = estimate(WORK, GPU, tokens=1, length=1, batches=100)
    assert cost.seconds == pytest.approx(100 * 7 * LAUNCH)
    slower = estimate(WORK, GPU, tokens=1, length=1, batches=100, gradient_checkpointing=True)
    assert slower.seconds > cost.seconds


def test_a_price_is_the_users_or_the_tables_or_none() -> None:
    def dollars(device: Device, price: float | None = None) -> float | None:
        return estimate(WORK, device, tokens=10**9, length=50, batches=1, price_per_hour=price).dollars

    hours = estimate(WORK, GPU, tokens=10**9, length=50, batches=1).seconds / 3600
    assert dollars(GPU) == pytest.approx(2.0 * hours)
    assert dollars(GPU, 0.5) == pytest.approx(0.5 * hours)
    assert dollars(GPU, 0.0) == 0
    assert dollars(replace(GPU, price=None)) is None
