"""What objectives share that learn words: the loss of learned tokens, whole or row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.objectives.rows import Row

if TYPE_CHECKING:
    from torch import Tensor


class OfTokens(ABC):
    """Cross entropy over the learned tokens of rows. Who inherits says what a model predicts."""

    @abstractmethod
    def predicted(self, model: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Logits (learned tokens, vocabulary) in float32, and the labels (learned tokens,), row by row."""

    def loss_sum(self, model: Any, rows: Sequence[Row]) -> Tensor:
        import torch.nn.functional as F

        logits, labels = self.predicted(model, rows)
        return F.cross_entropy(logits, labels, reduction="sum")

    def losses(self, model: Any, rows: Sequence[Row]) -> Tensor:
        import torch
        import torch.nn.functional as F

        logits, labels = self.predicted(model, rows)
        each = F.cross_entropy(logits, labels, reduction="none")
        return torch.stack([part.sum() for part in torch.split(each, [row.learned for row in rows])])

    def judged(self, model: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor | None]:
        return self.loss_sum(model, rows), None
