"""A four-bit and an eight-bit base on the CPU: trained over, registered, composed, answered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.plugins.host import Host
from tests.journeys.conftest import run_lftreg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
FEW = ("--max-steps", "12", "--batch-size", "4")


def some_of(domain: str, folder: Path) -> tuple[str, ...]:
    """Words that train on forty rows of a domain: what is held out of all of them takes minutes in few bits."""
    rows = [
        {"prompt": row.prompt, "response": row.response}
        for row in islice(Host().domain(domain).build("train", 0), 40)
    ]
    file = folder / f"{domain}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return ("--data", str(file))


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantised_starter_goes_all_the_way(kind: str, ask: Callable[..., Any], tmp_path: Path) -> None:
    support, finance = (
        ask("train", *some_of(domain, tmp_path), "--quantize", kind, *FEW)
        for domain in ("customer_support", "financial_advisor")
    )
    for made in (support, finance):
        assert made["loss"]["validation_after"] < made["loss"]["validation_before"]
    shown = ask("show", "customer_support")
    assert shown["run"]["settings"]["quantize"] == kind
    # It is an adapter of the base, not of one way to keep it.
    assert shown["base"]["fingerprint"] == find_base("starter").record.fingerprint
    mixed = ask("compose", "customer_support:0.7", "financial_advisor:0.3", "--name", "desk")
    assert mixed["relative_error"] < 1e-6
    prompt = "How long do I have to return something?"
    whole, small = (
        ask("generate", "desk", prompt, "--max-tokens", "12", *words)["outputs"][0]
        for words in ((), ("--quantize", kind))
    )
    assert whole["text"] and small["text"]


@pytest.mark.parametrize(("kind", "dtype"), [("nf4", "uint8"), ("int8", "int8")])
def test_the_base_is_really_kept_small(kind: str, dtype: str) -> None:
    found = find_base("starter")
    small, whole = load_base(found, quantize=kind).model, load_base(found, "float32").model
    assert str(small.model.layers[0].mlp.up_proj.weight.dtype) == f"torch.{dtype}"
    share = {"nf4": 0.35, "int8": 0.45}[kind]  # the embedding, a fifth of the starter, stays as it is
    assert small.get_memory_footprint() < share * whole.get_memory_footprint()


def test_an_unknown_kind_is_refused(home: Path) -> None:
    done = run_lftreg("train", "customer_support", "--quantize", "fp3", home=home)
    assert done.returncode == 2
    assert "nf4" in done.stderr


def test_layers_that_four_bits_do_not_fit_are_named(home: Path, tiny_llama: Path) -> None:
    words = ("train", "customer_support", "--base", str(tiny_llama), "--quantize", "nf4")
    done = run_lftreg(*words, "--max-steps", "2", home=home)
    assert done.returncode == 5
    assert "model.layers.0.self_attn.q_proj has 32" in done.stderr
