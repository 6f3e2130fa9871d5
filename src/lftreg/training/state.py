"""Where a run stands: all that a checkpoint holds beside tensors, and what a run leaves."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from lftreg.training.events import Stepped, Validated

if TYPE_CHECKING:
    import torch

RECENT = 10  # steps whose mean is called the last training loss


@dataclass(slots=True)
class State:
    """A run at the border between two steps. `micro` is how many rows go through the base at once."""

    micro: int
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    checkpointing: bool = False
    best_step: int = 0
    waiting: int = 0
    steps: list[Stepped] = field(default_factory=list)
    validations: list[Validated] = field(default_factory=list)

    @property
    def validated(self) -> bool:
        """Whether this very step was validated."""
        return bool(self.validations) and self.validations[-1].step == self.step

    @property
    def lowest(self) -> float:
        return min((v.loss for v in self.validations), default=math.inf)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, found: dict[str, Any]) -> State:
        steps = [Stepped(**step) for step in found.pop("steps")]
        validations = [Validated(**validation) for validation in found.pop("validations")]
        return cls(**found, steps=steps, validations=validations)


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the loop leaves: the best factors, and the losses on the way."""

    factors: dict[str, torch.Tensor]
    steps: tuple[Stepped, ...]
    validations: tuple[Validated, ...]
    best_step: int
    stopped_early: bool
    seconds: float = 0.0

    @property
    def losses(self) -> dict[str, float]:
        recent = self.steps[-RECENT:]
        before, best = self.validations[0], min(self.validations, key=lambda v: v.loss)
        losses = {
            "train_first": self.steps[0].loss,
            "train_last": sum(s.loss for s in recent) / len(recent),
            "validation_before": before.loss,
            "validation_after": best.loss,
        }
        if before.accuracy is not None and best.accuracy is not None:
            losses |= {"accuracy_before": before.accuracy, "accuracy_after": best.accuracy}
        return losses
