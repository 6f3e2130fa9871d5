"""What a loop asks of the model that it trains.

A loop never calls its model. It yields what it wants to be learned, judged or read, and goes on with the answer: so one
loop can have a base to itself, or many can share each of its passes, and none of their steps knows the difference.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from lftreg.objectives.rows import Row

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Learn:
    """Add the gradients of the loss of `rows`, divided by `learned`, to those that are there.

    The answer is that loss in nats, detached; None where memory ran out. Rows that do not `count` are computed for
    the sake of other processes.
    """

    rows: Sequence[Row]
    learned: int
    counts: bool = True


@dataclass(frozen=True, slots=True)
class Judge:
    """Judge rows without dropout, noise and gradients. The answer is a `Judged`; None where memory ran out."""

    rows: Sequence[Row]


@dataclass(frozen=True, slots=True)
class Read:
    """Tell what numbers a tensor (n,) holds, as floats: to read from a GPU is to wait for it, and many wait once."""

    numbers: torch.Tensor


def read(asked: Sequence[Read]) -> list[list[float]]:
    """The answers."""
    import torch

    sizes = [len(one.numbers) for one in asked]
    told: Iterator[float] = iter(torch.cat([one.numbers for one in asked]).tolist()) if asked else iter(())
    return [list(islice(told, size)) for size in sizes]


Value = TypeVar("Value")
Ask = Learn | Judge | Read
Asking = Generator[Ask, Any, Value]


class Subject(Protocol):
    """What is trained: parameters, and the generators that dropout and noise draw from."""

    named: dict[str, torch.Tensor]
    accelerator: Any

    @property
    def device(self) -> torch.device: ...

    @property
    def parameters(self) -> list[torch.Tensor]:
        """What an optimizer takes: those of `named`, or tensors that hold several of them."""

    def unreached(self) -> list[str]:
        """The names of parameters that no gradient came to."""

    @property
    def checkpointing(self) -> bool:
        """Whether activations are computed again instead of being kept."""

    def checkpoint_gradients(self) -> None:
        """Trade time for memory from here on."""

    def factors(self) -> dict[str, torch.Tensor]:
        """A copy of the adapter's tensors, as PEFT names them in a file."""

    def optimizer(self, lr: float, weight_decay: float) -> Any:
        """AdamW over the parameters."""

    def random_state(self) -> list[torch.Tensor]: ...

    def set_random_state(self, states: list[torch.Tensor]) -> None: ...
