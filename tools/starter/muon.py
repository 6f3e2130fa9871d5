"""The optimiser of the matrices: momentum whose direction is made orthogonal before it is applied."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor


def orthogonalise(matrices: Tensor, steps: int = 5) -> Tensor:
    """Newton-Schulz iteration on a stack of matrices: all singular values go to about one."""
    x = matrices.bfloat16()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        square = x @ x.mT
        x = 3.4445 * x + (-4.7750 * square + 2.0315 * square @ square) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Matrices of one shape are stacked and handled by one call: on a small network launches are the cost."""

    def __init__(self, parameters: Iterable[Tensor], lr: float, momentum: float, weight_decay: float) -> None:
        by_shape: dict[torch.Size, list[Tensor]] = defaultdict(list)
        for parameter in parameters:
            by_shape[parameter.shape].append(parameter)
        groups = [{"params": stack} for stack in by_shape.values()]
        super().__init__(groups, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})
        self.orthogonalise = torch.compile(orthogonalise) if torch.cuda.is_available() else orthogonalise

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Nesterov momentum, orthogonalised, scaled so that its entries are about as large as AdamW's."""
        for group in self.param_groups:
            parameters = group["params"]
            gradients = torch.stack([parameter.grad for parameter in parameters])
            state = self.state[parameters[0]]
            buffer = state.setdefault("momentum", torch.zeros_like(gradients))
            buffer.lerp_(gradients, 1 - group["momentum"])
            update = self.orthogonalise(gradients.lerp(buffer, group["momentum"]))
            scale = 0.2 * max(parameters[0].shape) ** 0.5
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, list(update.float().unbind()), alpha=-group["lr"] * scale)
