"""Layers in few bits are as large as those of bitsandbytes."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from lftreg.budget.stubs import Packed, pack

bnb = pytest.importorskip("bitsandbytes")
SIZES = [(512, 512), (256, 1024), (4096, 256)]


def taken(layer: Packed) -> int:
    return sum(t.numel() * t.element_size() for t in (layer.weight, layer.constants))


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_nf4(inputs: int, outputs: int) -> None:
    weight = bnb.nn.Params4bit(
        torch.randn(outputs, inputs), requires_grad=False, quant_type="nf4", compress_statistics=True
    ).to("cpu")
    state = weight.quant_state
    parts = [weight.data, state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code]
    real = sum(part.numel() * part.element_size() for part in parts)
    assert taken(Packed(inputs, outputs, None, "nf4")) == real


@pytest.mark.parametrize(("inputs", "outputs"), SIZES)
def test_int8(inputs: int, outputs: int) -> None:
    layer = bnb.nn.Linear8bitLt(inputs, outputs, bias=False, has_fp16_weights=False)
    layer.weight = bnb.nn.Int8Params(
        torch.randn(outputs, inputs), requires_grad=False, has_fp16_weights=False
    )
    layer = layer.to("cpu")
    layer(torch.randn(1, inputs))
    real = layer.weight.data.numel() + layer.state.SCB.numel() * 4
    assert taken(Packed(inputs, outputs, None, "int8")) == real


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_gradients_pass_and_shapes_hold(kind: str) -> None:
    model = nn.Sequential(nn.Linear(64, 128), nn.Linear(128, 32), nn.LayerNorm(32)).to("meta")
    model.requires_grad_(False)
    pack(model, kind, whole=["1"])
    assert [type(module) for module in model] == [Packed, nn.Linear, nn.LayerNorm]
    x = torch.empty(2, 3, 64, device="meta", requires_grad=True)
    out = model(x)
    assert out.shape == (2, 3, 32)
    out.sum().backward()
    assert x.grad is not None and x.grad.shape == x.shape
