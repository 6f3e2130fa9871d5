"""What real devices do otherwise than the meta device: autocast, dropout, attention that never holds its scores.

The meta device knows none of them: autocast acts on real devices only, dropout there holds a float for every number
instead of a byte, and attention takes the path of plain products, which holds (batch, heads, length, length)
scores. All are put back here, function by function.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from lftreg.budget.tracking import Tracker

# What autocast computes in bfloat16, and what in float32 (aten/src/ATen/autocast_mode.h, AT_FORALL_LOWER_PRECISION_FP
# and AT_FORALL_FP32; only what language models call).
LOWER = frozenset(
    {
        F.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, torch.Tensor.mm, torch.bmm,
        torch.Tensor.bmm, torch.addmm, torch.Tensor.addmm, torch.baddbmm, torch.Tensor.baddbmm, torch.einsum,
        torch.conv1d, torch.conv2d, F.conv1d, F.conv2d, F.bilinear,
    }
)  # fmt: skip
UPPER = frozenset(
    {
        F.layer_norm, torch.layer_norm, F.group_norm, F.softmax, torch.softmax, torch.Tensor.softmax, F.log_softmax,
        torch.log_softmax, torch.Tensor.log_softmax, F.cross_entropy, F.nll_loss, torch.pow, torch.Tensor.pow,
        torch.Tensor.__pow__, torch.rsqrt, torch.Tensor.rsqrt, torch.exp, torch.Tensor.exp, torch.log,
        torch.Tensor.log, F.softplus, torch.cumsum, torch.Tensor.cumsum, F.smooth_l1_loss, F.mse_loss,
    }
)  # fmt: skip
FLASH_HEAD = 256  # the longest head that the fused kernels take
_HALVES = (torch.bfloat16, torch.float16)


class Kernels(TorchFunctionMode):
    """Makes a step on the meta device allocate what it would on a GPU, or on a CPU without `gpu`.

    `half` is the dtype of autocast, or None without it. `tracker` is told the contents of index tensors.
    """

    def __init__(self, tracker: Tracker, half: torch.dtype | None, gpu: bool = True) -> None:
        super().__init__()
        self.tracker = tracker
        self.half = half
        self.gpu = gpu

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.tensor:
            return self._tensor(*args, **kwargs)
        if func is F.scaled_dot_product_attention:
            if self.half is not None:
                args, kwargs = _cast(args, kwargs, (torch.float32,), self.half)
            return _attention(self.gpu, *args, **kwargs)
        if func is F.dropout and self.gpu:
            return _dropout(*args, **kwargs)
        if self.half is not None:
            if func in LOWER:
                args, kwargs = _cast(args, kwargs, (torch.float32,), self.half)
            elif func in UPPER:
                args, kwargs = _cast(args, kwargs, _HALVES, torch.float32)
        return func(*args, **kwargs)

    def _tensor(self, data: Any, **options: Any) -> torch.Tensor:
        """A tensor from Python numbers; its contents are lost on the meta device, so they are kept beside it."""
        made = torch.tensor(data, **options)
        if made.device.type == "meta" and not made.is_floating_point():
            self.tracker.tell(made, torch.tensor(data, **(options | {"device": "cpu"})))
        return made


@contextlib.contextmanager
def autocast_flag(half: torch.dtype | None) -> Iterator[None]:
    """Let libraries that ask find autocast on, as they will in training. Tensors on meta do not heed it."""
    before = torch.is_autocast_enabled("cuda"), torch.get_autocast_dtype("cuda")
    torch.set_autocast_enabled("cuda", half is not None)
    torch.set_autocast_dtype("cuda", half or before[1])
    try:
        yield
    finally:
        torch.set_autocast_enabled("cuda", before[0])
        torch.set_autocast_dtype("cuda", before[1])


def _cast(args: Any, kwargs: Any, of: tuple[torch.dtype, ...], to: torch.dtype) -> Any:
    return tree_map_only(torch.Tensor, lambda t: t.to(to) if t.dtype in of else t, (args, kwargs))


def _dropout(x: torch.Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> torch.Tensor:
    """Dropout as a GPU does it, whose mask takes a byte a number."""
    return torch.native_dropout(x, p, True)[0] if training and p > 0 else x


def _attention(
    gpu: bool,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attn_mask: torch.Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> torch.Tensor:
    """Attention by the kernel that torch would choose.

    On a GPU, flash takes half precision without a mask, and fewer heads of keys than of queries. Efficient takes
    float32 and masks, but as many heads on both sides. A CPU has one that takes all but dropout. What is left is
    computed by plain products (aten/src/ATen/native/transformers/{cuda/sdp_utils,sdp_utils_cpp}.cpp).
    """
    grouped = query.shape[1] != key.shape[1]
    flash = query.dtype in _HALVES and attn_mask is None
    fused = (flash or not grouped) and query.shape[-1] <= FLASH_HEAD if gpu else dropout_p == 0
    if query.dim() != 4 or query.shape[-1] != value.shape[-1] or not fused:
        return F.scaled_dot_product_attention(
            query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa
        )
    bias = attn_mask
    if bias is not None and bias.dtype == torch.bool:
        bias = torch.zeros(bias.shape, dtype=query.dtype, device=bias.device)
    out: torch.Tensor = _Fused.apply(query, key, value, bias)  # type: ignore[no-untyped-call]
    return out


class _Fused(torch.autograd.Function):
    """Allocates what the flash and efficient kernels do: outputs, a log-sum-exp a row, gradients, float32 sums."""

    @staticmethod
    def forward(
        ctx: Any, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, bias: torch.Tensor | None
    ) -> torch.Tensor:
        batch, heads, length, _ = query.shape
        out = _lines_first(query, heads, value.shape[-1])
        sums = torch.empty(batch, heads, -(-length // 32) * 32, dtype=torch.float32, device=query.device)
        ctx.save_for_backward(query, key, value, out, sums, bias)
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        query, key, value, _, sums, bias = ctx.saved_tensors
        batch, heads, length, size = query.shape
        scratch = [torch.empty_like(sums)]
        if query.dtype in _HALVES:  # the gradient of the queries is summed in float32
            padded = -(-length // 128) * 128, -(-size // 32) * 32
            scratch.append(torch.empty(batch, heads, *padded, dtype=torch.float32, device=query.device))
        d_query = _lines_first(query, heads, size)
        wide = [_lines_first(t, heads, t.shape[-1]) for t in (key, value)]
        if key.shape[1] != heads:  # a head of keys gets the sum over its queries' heads
            wide = [_lines_first(t, t.shape[1], t.shape[-1]) for t in (key, value)]
        d_bias = torch.empty_like(bias) if bias is not None and ctx.needs_input_grad[3] else None
        return d_query, wide[0], wide[1], d_bias


def _lines_first(like: torch.Tensor, heads: int, size: int) -> torch.Tensor:
    """An empty (batch, heads, length, size) that lies in memory as (batch, length, heads, size)."""
    batch, _, length, _ = like.shape
    return torch.empty(batch, length, heads, size, dtype=like.dtype, device=like.device).transpose(1, 2)
