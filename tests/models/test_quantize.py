"""A quantised base passes gradients to every layer, before an evaluation and after it."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lftreg.models.base import find_base
from lftreg.models.load import load_base

IDS = torch.arange(20, 60).reshape(2, 20)


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_an_evaluation_cuts_no_layer_off(kind: str) -> None:
    torch.manual_seed(0)
    loaded = load_base(find_base("starter"), quantize=kind)
    model = get_peft_model(loaded.model, LoraConfig(r=4, target_modules=["q_proj", "down_proj"]))
    factors = {name: p for name, p in model.named_parameters() if ".lora_B." in name}

    def gradients() -> dict[str, torch.Tensor]:
        model.train()
        model.zero_grad()
        model(input_ids=IDS, labels=IDS).loss.backward()
        return {name: p.grad.clone() for name, p in factors.items() if p.grad is not None}

    before = gradients()
    model.eval()
    with torch.inference_mode():
        model(input_ids=IDS)
    after = gradients()
    assert set(before) == set(after) == set(factors)
    for name, gradient in before.items():
        assert gradient.abs().max() > 0, name
        torch.testing.assert_close(after[name], gradient, rtol=1e-3, atol=1e-6)
