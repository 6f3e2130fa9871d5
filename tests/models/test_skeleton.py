"""A skeleton has the layers, and none of the weight."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lftreg.errors import InvalidData
from lftreg.models.skeleton import Layer, build_skeleton

LAYERS = [
    Layer("model.layers.10.mlp.up_proj", 4096, 11008),
    Layer("model.layers.2.mlp.up_proj", 4096, 11008),
    Layer("model.embed_tokens", 32000, 4096, embedding=True),
    Layer("lm_head", 4096, 32000),
]


def test_every_layer_is_there_in_its_size_and_weighs_nothing() -> None:
    model = build_skeleton(LAYERS)
    for layer in LAYERS:
        weight = model.get_submodule(layer.path).weight
        shape = (layer.inputs, layer.outputs) if layer.embedding else (layer.outputs, layer.inputs)
        assert isinstance(weight, torch.nn.Parameter)
        assert tuple(weight.shape) == shape
        assert weight.untyped_storage().nbytes() == 4
        assert not weight.requires_grad


def test_peft_takes_it_for_a_model() -> None:
    model = get_peft_model(
        build_skeleton(LAYERS), LoraConfig(r=2, target_modules=["up_proj", "embed_tokens"])
    )
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(trained) == 6


def test_an_order_that_does_not_depend_on_what_came_first() -> None:
    names = [[n for n, _ in build_skeleton(layers).named_modules()] for layers in (LAYERS, LAYERS[::-1])]
    assert names[0] == names[1]


@pytest.mark.parametrize("path", ["training", "a..b", "", "forward.x", "model.layers."])
def test_a_path_that_no_model_has_is_refused(path: str) -> None:
    with pytest.raises(InvalidData):
        build_skeleton([Layer(path, 2, 2)])
