"""Which layers of a model take adapters, and which of them read the same input.

The query, key and value projections of a block read one tensor, as gate and up do: the A factors of all of them
can be stacked and applied at once. A probe of the model's own forward pass finds them, so no family has to be known.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class Seat:
    """A layer that an adapter may change: its path in the base, and its features in and out."""

    path: str
    module: nn.Module
    inputs: int
    outputs: int


Together = tuple[Seat, ...]


def seats_of(model: nn.Module) -> dict[str, Seat]:
    """Every linear layer of a model by its path, those of quantised bases and GPT-2's Conv1D among them."""
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    found = {}
    for path, module in model.named_modules():
        if isinstance(module, nn.Linear):
            found[path] = Seat(path, module, module.in_features, module.out_features)
        elif isinstance(module, Conv1D):
            found[path] = Seat(path, module, module.nx, module.nf)
    return found


def sharing_input(seats: dict[str, Seat], probe: Callable[[], Any]) -> list[Together]:
    """The seats in groups: siblings that were given one and the same tensor in a forward pass.

    A seat that the probe does not reach stands alone.
    """
    given: dict[tuple[str, int], list[Seat]] = {}
    kept: list[torch.Tensor] = []  # as long as a tensor lives, no other has its id

    def listen(seat: Seat) -> Any:
        def hook(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
            kept.append(inputs[0])
            given.setdefault((seat.path.rpartition(".")[0], id(inputs[0])), []).append(seat)

        return seat.module.register_forward_pre_hook(hook)

    hooks = [listen(seat) for seat in seats.values()]
    try:
        probe()
    finally:
        for hook in hooks:
            hook.remove()
    groups: list[Together] = []
    seen: set[str] = set()
    for together in given.values():
        fresh = tuple(seat for seat in dict.fromkeys(together) if seat.path not in seen)
        seen.update(seat.path for seat in fresh)
        if fresh:
            groups.append(fresh)
    return groups + [(seat,) for path, seat in seats.items() if path not in seen]
