"""Layers in four or eight bits as bitsandbytes keeps them, on the meta device: their sizes, and what they hold."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import torch
from torch import nn

BLOCK, OUTER = 64, 256  # weights that share a constant, and constants that share one of their own
CODES = 4 * (16 + 256) + 4  # bytes of the two codes and the offset of an nf4 layer


class Packed(nn.Linear):
    """A linear layer whose weight is in `kind`; its product is the kernels' of bitsandbytes.

    nf4 (Dettmers et al. 2023, arXiv 2305.14314): half a byte a weight, a byte for every 64 weights and four for
    every 64 * 256. int8 (Dettmers et al. 2022, arXiv 2208.07339): a byte a weight, four bytes an output.
    """

    def __init__(self, inputs: int, outputs: int, bias: nn.Parameter | None, kind: str) -> None:
        super().__init__(inputs, outputs, bias=False, device="meta")
        self.kind = kind
        self.register_parameter("bias", bias)
        count = inputs * outputs
        nf4 = kind == "nf4"
        data = torch.empty(-(-count // 2) if nf4 else count, dtype=torch.uint8, device="meta")
        self.weight = nn.Parameter(data, requires_grad=False)
        blocks = -(-count // BLOCK)
        extra = blocks + 4 * -(-blocks // OUTER) + CODES if nf4 else 4 * outputs
        self.register_buffer(
            "constants", torch.empty(extra, dtype=torch.uint8, device="meta"), persistent=False
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        product = _Nf4 if self.kind == "nf4" else _Int8
        out: torch.Tensor = product.apply(x, self.in_features, self.out_features)  # type: ignore[no-untyped-call]
        return out if self.bias is None else out + self.bias.to(out.dtype)


def pack(model: nn.Module, kind: str, whole: Collection[str]) -> None:
    """Put `Packed` layers in place of a model's linear ones, but for those at the paths in `whole`.

    transformers leaves alone, too, what a model says must stay in float32.
    """
    from transformers.pytorch_utils import Conv1D

    kept = set(getattr(model, "_keep_in_fp32_modules", None) or ())
    for path, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear | Conv1D) or path in whole or kept & set(path.split(".")):
            continue
        first, last = module.weight.shape
        inputs, outputs = (first, last) if isinstance(module, Conv1D) else (last, first)
        parent, _, name = path.rpartition(".")
        setattr(model.get_submodule(parent), name, Packed(inputs, outputs, module.bias, kind))


class _Nf4(torch.autograd.Function):
    """The weight is unpacked whole, in both directions, and dropped again (MatMul4Bit)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, inputs: int, outputs: int) -> torch.Tensor:
        ctx.shape = inputs, outputs, x.dtype
        weight = torch.empty(outputs, inputs, dtype=x.dtype, device=x.device)
        return x @ weight.t()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _through(ctx, grads[0])


class _Int8(torch.autograd.Function):
    """The input is halved and put in eight bits; the product is summed in 32 bits (MatMul8bitLt)."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, inputs: int, outputs: int) -> torch.Tensor:
        ctx.shape = inputs, outputs, x.dtype
        ctx.save_for_backward(x)
        half = x if x.dtype == torch.float16 else torch.empty(x.shape, dtype=torch.float16, device=x.device)
        packed = torch.empty(x.shape, dtype=torch.int8, device=x.device)
        del half
        summed = torch.empty(*x.shape[:-1], outputs, dtype=torch.int32, device=x.device)
        del packed
        out = torch.empty(*x.shape[:-1], outputs, dtype=torch.float16, device=x.device)
        del summed
        return out.to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        return _through(ctx, grads[0])


def _through(ctx: Any, grad: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
    inputs, outputs, dtype = ctx.shape
    weight = torch.empty(outputs, inputs, dtype=dtype, device=grad.device)
    return grad.to(dtype) @ weight, None, None
