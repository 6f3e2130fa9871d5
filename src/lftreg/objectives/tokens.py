"""What objectives share that learn words: the loss of learned tokens, whole or row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.objectives.padding import by_row
from lftreg.objectives.rows import Row

if TYPE_CHECKING:
    from torch import Tensor


class OfTokens(ABC):
    """Cross entropy over the learned tokens of rows. Who inherits says what a model predicts."""

    @abstractmethod
    def predicted(self, model: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (learned tokens, vocabulary); labels (rows, length), and which of them are learned."""

    def loss_sum(self, model: Any, rows: Sequence[Row]) -> Tensor:
        import torch.nn.functional as F

        logits, labels, learned = self.predicted(model, rows)
        return F.cross_entropy(logits, labels[learned], reduction="sum")

    def losses(self, model: Any, rows: Sequence[Row]) -> Tensor:
        import torch.nn.functional as F

        logits, labels, learned = self.predicted(model, rows)
        return by_row(F.cross_entropy(logits, labels[learned], reduction="none"), learned)

    def accuracy(self, model: Any, rows: Sequence[Row]) -> float | None:
        return None
