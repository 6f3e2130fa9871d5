"""Adapters side by side on one base, each counted by a weight that may change from one forward pass to the next.

Every layer that any of them adapts keeps all their factors as one A (ranks, inputs) and one B (outputs,
ranks), so N adapters cost one wider adapter: y = W x + B ((A x) * w), where w holds each adapter's weight as
often as its rank. That is what `compose --method cat` writes for the same weights. The base is never written
to: hooks add to what its layers return, and are gone when `attached` ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from lftreg.composer.parents import Parent
from lftreg.errors import Incompatible, InvalidData
from lftreg.models.skeleton import Layer
from lftreg.tensors import Source

if TYPE_CHECKING:
    from torch import Tensor, nn

    from lftreg.tensors.stream import Floats

REST = "*"  # the block of layers that are in none: embeddings, the output layer
_BLOCK = re.compile(r"(.+?\.\d+)\.")


@dataclass(frozen=True, slots=True, eq=False)
class Stacked:
    """A layer of the base and the factors of all adapters for it, in float32, scales folded into B.

    `a` is (ranks, inputs), `b` (outputs, ranks), `owner` (ranks,) the adapter that a rank belongs to, `block`
    the row of the weights that counts here.
    """

    module: nn.Module
    block: int
    a: Tensor
    b: Tensor
    owner: Tensor
    embedding: bool

    def added(self, x: Tensor, weights: Tensor) -> Tensor:
        """What the adapters add to the layer's output for an input `x`; `weights` is (adapters,)."""
        import torch.nn.functional as F

        inner = F.embedding(x, self.a.T) if self.embedding else F.linear(x.to(self.a.dtype), self.a)
        made = F.linear(inner * weights[self.owner], self.b)
        # Some embeddings multiply what they look up (Gemma), and PEFT does so with what is added too.
        scale = getattr(self.module, "embed_scale", None) if self.embedding else None
        return made if scale is None else made * scale


class Mixture:
    """Adapters on a base in memory. `weights` (blocks, adapters) is read at every forward pass.

    It starts at 0, which is the base.
    """

    def __init__(self, layers: Sequence[Stacked], blocks: Sequence[str], adapters: int) -> None:
        import torch

        self.layers = tuple(layers)
        self.blocks = tuple(blocks)
        self.adapters = adapters
        self.weights: Tensor = torch.zeros(len(blocks), adapters, device=layers[0].a.device)

    @contextmanager
    def attached(self) -> Iterator[None]:
        """While this lasts, the base answers with the adapters; afterwards it is as it was."""
        with ExitStack() as hooks:
            for layer in self.layers:
                hooks.callback(layer.module.register_forward_hook(self._hook(layer), with_kwargs=True).remove)
            yield

    def at_random(self, seed: int) -> Mixture:
        """Adapters of the same shapes, drawn anew, each factor with the Frobenius norm of the one it stands for."""
        import torch

        dice = torch.Generator().manual_seed(seed)

        def like(factor: Tensor, owner: Tensor, axis: int) -> Tensor:
            drawn = torch.randn(factor.shape, generator=dice).to(factor.device)
            for one in sorted(set(owner.tolist())):
                ours = (owner == one).nonzero()[:, 0]
                norm = factor.index_select(axis, ours).norm()
                part = drawn.index_select(axis, ours)
                drawn.index_copy_(axis, ours, part * (norm / part.norm().clamp_min(1e-30)))
            return drawn

        layers = [replace(x, a=like(x.a, x.owner, 0), b=like(x.b, x.owner, 1)) for x in self.layers]
        return Mixture(layers, self.blocks, self.adapters)

    def _hook(self, layer: Stacked) -> Callable[[nn.Module, Any, Any, Tensor], Tensor]:
        def add(module: nn.Module, args: Any, kwargs: Any, output: Tensor) -> Tensor:
            x = args[0] if args else next(iter(kwargs.values()))
            return output + layer.added(x, self.weights[layer.block]).to(output.dtype)

        return add


def mixture_of(model: nn.Module, parents: Sequence[Parent], layers: Mapping[str, Layer]) -> Mixture:
    """The factors of some parents, read once, beside the layers of a base in memory.

    Raises Incompatible where the base has no such layer, InvalidData for factors that are no numbers.
    """
    blocks = blocks_of(layers)
    with ExitStack() as files:
        sources = [files.enter_context(Source(parent.file)) for parent in parents]
        made = [
            _stacked(_module(model, layer, parents), blocks.index(block_of(path)), layer, parents, sources)
            for path, layer in sorted(layers.items())
        ]
    return Mixture(made, blocks, len(parents))


def block_of(path: str) -> str:
    """The transformer layer that a module is in, such as `model.layers.3`; `*` where its path has no number."""
    found = _BLOCK.match(path)
    return found[1] if found else REST


def blocks_of(paths: Iterator[str] | Mapping[str, Any]) -> tuple[str, ...]:
    """The blocks of some modules, in the order of the model, the rest last."""
    found = {block_of(path) for path in paths}

    def place(block: str) -> tuple[bool, str, int]:
        stem, _, number = block.rpartition(".")
        return block == REST, stem, int(number) if stem else 0

    return tuple(sorted(found, key=place))


def _stacked(
    module: nn.Module, block: int, layer: Layer, parents: Sequence[Parent], sources: Sequence[Source]
) -> Stacked:
    import numpy as np
    import torch

    first: list[Floats] = []
    second: list[Floats] = []
    owners: list[int] = []
    for number, (parent, source) in enumerate(zip(parents, sources, strict=True)):
        slot = parent.slots.get(layer.path)
        if slot is None:
            continue
        for key, factors in zip(slot.keys, (first, second), strict=True):
            factors.append(source.read(key))
            if not np.isfinite(factors[-1]).all():
                raise InvalidData(
                    f"{parent.version.ref} holds numbers that are none (NaN or infinity) in {key}",
                    "it was damaged in training; use an earlier version",
                    code="not-finite",
                )
        second[-1] = second[-1] * np.float32(slot.scale)
        owners += [number] * slot.rank
    device = next(module.parameters()).device
    a = torch.from_numpy(np.concatenate(first)).to(device)
    if layer.embedding:  # it is looked up by the transpose, which had better lie in one piece
        a = a.T.contiguous().T
    b = torch.from_numpy(np.concatenate(second, axis=1)).to(device)
    return Stacked(module, block, a, b, torch.tensor(owners, device=device), layer.embedding)


def _module(model: nn.Module, layer: Layer, parents: Sequence[Parent]) -> nn.Module:
    """The base's own module for a layer, once it is known to be of that kind and shape."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    who = next(parent.version.ref for parent in parents if layer.path in parent.slots)
    try:
        module = model.get_submodule(layer.path)
    except AttributeError:
        raise Incompatible(
            f"{who} adapts {layer.path}, which its base does not have as it is loaded here",
            "it was made for another task or another base",
            code="no-layer",
        ) from None
    shape = (layer.inputs, layer.outputs) if layer.embedding else (layer.outputs, layer.inputs)
    kind: type[nn.Module] = nn.Embedding if layer.embedding else nn.Linear
    if isinstance(module, Conv1D):
        kind, shape = Conv1D, (layer.inputs, layer.outputs)
    weight: Any = getattr(module, "weight", None)
    if not isinstance(module, kind) or tuple(weight.shape) != shape:
        raise Incompatible(
            f"{who} has factors for {layer.path} that do not fit the {type(module).__name__} which stands there",
            "it was made for another base",
            code="different-shapes",
        )
    return module
