"""An adapter's factors in two tensors instead of hundreds.

An optimizer, a norm and a copy cost a GPU's host as much for a small tensor as for a large one. The A of all layers lie
side by side in one tensor, (rank, inputs of all layers), the transposed B in another, (rank, outputs of all layers);
what a layer has are views of them. AdamW goes number by number, so it does the same to them as to each by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Span:
    """Which columns of the two tensors a layer has."""

    a: slice
    b: slice


class Flat:
    """Both tensors, and where the layers are. The parameters that it is made of become views."""

    def __init__(self, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """`factors` are A (rank, inputs) and B (outputs, rank) by layer, all of one rank."""
        import torch

        self._pairs = dict(factors)
        self.a = torch.nn.Parameter(torch.cat([a.detach() for a, _ in factors.values()], dim=1))
        self.b = torch.nn.Parameter(torch.cat([b.detach().T for _, b in factors.values()], dim=1))
        self.spans: dict[str, Span] = {}
        inputs = outputs = 0
        for path, (a, b) in factors.items():
            span = Span(slice(inputs, inputs + a.shape[1]), slice(outputs, outputs + b.shape[0]))
            a.data, b.data = self.a.data[:, span.a], self.b.data[:, span.b].T
            self.spans[path] = span
            inputs, outputs = span.a.stop, span.b.stop

    @property
    def parameters(self) -> list[torch.Tensor]:
        return [self.a, self.b]

    def gather(self) -> None:
        """Gradients of the single layers, which are given up, added to those of both tensors."""
        for path, (a, b) in self._pairs.items():
            span = self.spans[path]
            if a.grad is not None:
                _gradient(self.a)[:, span.a] += a.grad
            if b.grad is not None:
                _gradient(self.b)[:, span.b] += b.grad.T
            a.grad = b.grad = None

    def make_room(self) -> None:
        """Have both gradients there: what is added to them then asks for no more memory."""
        for whole in (self.a, self.b):
            _gradient(whole)

    def add(self, a: torch.Tensor, b: torch.Tensor, scale: float) -> None:
        """Add to the gradients of both tensors; those of B are of what is scaled."""
        _gradient(self.a).add_(a)
        _gradient(self.b).add_(b, alpha=scale)

    def optimizer(self, **options: Any) -> Any:
        """AdamW over both tensors. Its state reads as that of one over all A and B, in the order of `spans`."""
        return _adamw(self, **options)


def _gradient(whole: torch.Tensor) -> torch.Tensor:
    import torch

    if whole.grad is None:
        whole.grad = torch.zeros_like(whole)
    return whole.grad


def _adamw(flat: Flat, **options: Any) -> Any:
    """Made when it is needed: this module is read without torch."""
    import torch

    class FlatAdamW(torch.optim.AdamW):
        def state_dict(self) -> dict[str, Any]:
            whole: dict[str, Any] = super().state_dict()
            whole["state"] = dict(enumerate(_apart(flat, whole["state"])))
            return whole

        def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
            super().load_state_dict({**state_dict, "state": _together(flat, state_dict["state"])})

    return FlatAdamW(flat.parameters, **options)


State = Mapping[int, Mapping[str, Any]]


def _apart(flat: Flat, state: State) -> Iterable[dict[str, Any]]:
    """The state of each A and B, of that of both tensors. A count of steps has no dimension, and is everybody's."""
    if not state:
        return
    for span in flat.spans.values():
        yield {key: one[:, span.a] if one.dim() else one.clone() for key, one in state[0].items()}
        yield {key: one[:, span.b].T if one.dim() else one.clone() for key, one in state[1].items()}


def _together(flat: Flat, state: State) -> dict[int, dict[str, Any]]:
    """The other way round."""
    import torch

    if not state:
        return {}
    of_a = [state[2 * at] for at in range(len(flat.spans))]
    of_b = [state[2 * at + 1] for at in range(len(flat.spans))]
    return {
        0: {k: torch.cat([one[k] for one in of_a], 1) if v.dim() else v for k, v in of_a[0].items()},
        1: {k: torch.cat([one[k].T for one in of_b], 1) if v.dim() else v for k, v in of_b[0].items()},
    }
