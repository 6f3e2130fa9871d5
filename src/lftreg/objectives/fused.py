"""Cross entropy from hidden states, without the logits of all tokens at once.

The output layer of a frozen base has no gradient of its own, so the gradient of the hidden states can be computed
together with the loss, some tokens at a time, while their logits are there: a vocabulary of 128,000 words takes a few
hundred MB, however many tokens are learned. The idea is that of Liger Kernel (Hsu et al. 2024, arXiv 2410.10989).
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

AT_ONCE = 2**25  # logits
AT_ONCE_COMPILED = 2**27  # which are never there in float32
FEWEST = 128  # tokens: fewer would be a slower product


def is_plain(head: Any) -> bool:
    """Whether an output layer is one product with frozen numbers."""
    from torch import nn

    return type(head) is nn.Linear and not head.weight.requires_grad and head.weight.is_floating_point()


def fused_loss(
    hidden: Tensor, head: nn.Linear, labels: Tensor, counts: Tensor, *, compiling: bool = False
) -> tuple[Tensor, Tensor]:
    """The sum of the losses of tokens, each as often as it counts, and the losses themselves, detached.

    `hidden` is (tokens, width), `labels` and `counts` (tokens,); losses are in nats and float32. A token that is no
    number spoils its own gradient and no other.
    """
    total, losses = _function(compiling).apply(hidden, head.weight, head.bias, labels, counts)
    return total, losses


def loss_and_slope(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The losses of some tokens, float32, and what each of their logits does to the sum, in the logits' precision."""
    import torch

    numbers = logits.float()
    sums = torch.logsumexp(numbers, -1)
    losses = sums - numbers.gather(1, labels[:, None])[:, 0]
    slope = torch.exp(numbers - sums[:, None])
    at_label = torch.arange(logits.shape[1], device=logits.device) == labels[:, None]
    return losses, ((slope - at_label.to(slope.dtype)) * counts[:, None]).to(logits.dtype)


@cache
def _function(compiling: bool) -> Any:
    """Made when it is needed: this module is read without torch."""
    import torch
    import torch.nn.functional as F

    judge = torch.compile(loss_and_slope, dynamic=True) if compiling else _loss_and_slope_by_torch
    at_once = AT_ONCE_COMPILED if compiling else AT_ONCE

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(
            ctx: Any, hidden: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor, counts: Tensor
        ) -> tuple[Tensor, Tensor]:
            size = max(FEWEST, at_once // weight.shape[0])
            losses, gradients = [], []
            parts = (torch.split(one, size) for one in (hidden, labels, counts))
            for some, wanted, count in zip(*parts, strict=True):
                loss, slope = judge(F.linear(some, weight, bias), wanted, count)
                losses.append(loss)
                if ctx.needs_input_grad[0]:
                    gradients.append((slope.to(weight.dtype) @ weight).to(hidden.dtype))
            every = torch.cat(losses)
            if gradients:
                ctx.save_for_backward(torch.cat(gradients))
            ctx.mark_non_differentiable(every)
            return (every * counts).sum(), every

        @staticmethod
        def backward(ctx: Any, slope: Tensor, _: Any) -> tuple[Tensor | None, ...]:
            (gradients,) = ctx.saved_tensors
            return gradients * slope.to(gradients.dtype), None, None, None, None

    return Fused


def _loss_and_slope_by_torch(logits: Tensor, labels: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """The same by torch's own operations, in place where that saves memory."""
    import torch
    import torch.nn.functional as F

    numbers = logits.float()
    losses = F.cross_entropy(numbers, labels, reduction="none")
    slope = torch.softmax(numbers, -1)
    slope[torch.arange(len(labels), device=labels.device), labels] -= 1.0
    slope *= counts[:, None]
    return losses, slope
