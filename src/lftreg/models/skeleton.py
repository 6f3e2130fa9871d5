"""A base model without its weights: only the layers that adapters touch, each as large as it says and empty.

PEFT merges adapters on a model that holds them, and looks at the model's layers for nothing but
their kind, shape and place. So no base is needed: the shapes of the factors tell all of it. Every weight
is one zero seen through strides of 0, and the skeleton of a model of 7 B parameters takes a few MB.
(A model on the meta device will not do: PEFT would move the factors there too.)
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lftreg.errors import InvalidData

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class Layer:
    """A layer that takes an adapter: its dotted path in the base, and its features in and out.

    For an embedding these are its rows and the length of each. Conv1D of GPT-2, a linear layer with
    its weight transposed, counts as linear: its factors are the same. Of a convolution `kernel` is the size,
    and `inputs` counts the numbers under it: channels times that size.
    """

    path: str
    inputs: int
    outputs: int
    embedding: bool = False
    kernel: tuple[int, ...] = ()


def build_skeleton(layers: Iterable[Layer]) -> nn.Module:
    """A model with just these layers, in order of their paths. It can hold adapters; it cannot answer."""
    from torch import nn

    root = nn.Module()
    for layer in sorted(layers, key=lambda one: one.path):
        *folders, last = layer.path.split(".")
        place = root
        try:
            for name in folders:
                if name not in place._modules:
                    place.add_module(name, nn.Module())
                place = place.get_submodule(name)
            place.add_module(last, _empty(layer))
        except (KeyError, AttributeError) as error:
            raise InvalidData(
                f"{layer.path!r} can be no layer of a model", "do not use this adapter"
            ) from error
    return root


def _empty(layer: Layer) -> nn.Module:
    import torch
    from torch import nn

    module: nn.Linear | nn.Embedding | nn.Conv1d | nn.Conv2d | nn.Conv3d
    with torch.device("meta"):
        if layer.embedding:
            module = nn.Embedding(layer.inputs, layer.outputs)
        elif layer.kernel:
            kind = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(layer.kernel) - 1]
            channels = layer.inputs // math.prod(layer.kernel)
            module = kind(channels, layer.outputs, layer.kernel, bias=False)  # type: ignore[arg-type]
        else:
            module = nn.Linear(layer.inputs, layer.outputs, bias=False)
    module.weight = nn.Parameter(torch.zeros(1).expand(module.weight.shape), requires_grad=False)
    return module
