"""What objectives share that learn words: the loss of learned tokens, whole or row by row."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.objectives import Judged
from lftreg.objectives.rows import Row

if TYPE_CHECKING:
    from torch import Tensor


AT_ONCE = 1024  # logits by the thousand: what is measured beside the loss takes little memory of its own


class OfTokens(ABC):
    """Cross entropy over the learned tokens of rows. Who inherits says what a model predicts."""

    @abstractmethod
    def predicted(self, model: Any, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
        """Logits (learned tokens, vocabulary) in float32, and the labels (learned tokens,), row by row."""

    def loss_sum(self, model: Any, rows: Sequence[Row]) -> Tensor:
        return self.summed(*self.predicted(model, rows), rows, training=model.training)

    def summed(self, logits: Tensor, labels: Tensor, rows: Sequence[Row], *, training: bool) -> Tensor:
        """The loss of rows whose learned tokens have these logits; `training` where they may weigh differently."""
        import torch.nn.functional as F

        return F.cross_entropy(logits, labels, reduction="sum")

    def losses(self, model: Any, rows: Sequence[Row]) -> Tensor:
        import torch
        import torch.nn.functional as F

        logits, labels = self.predicted(model, rows)
        each = F.cross_entropy(logits, labels, reduction="none")
        return torch.stack([part.sum() for part in torch.split(each, [row.learned for row in rows])])

    def judged(self, model: Any, rows: Sequence[Row]) -> Judged:
        return self.judged_by(*self.predicted(model, rows), rows)

    def judged_by(self, logits: Tensor, labels: Tensor, rows: Sequence[Row]) -> Judged:
        """What a validation finds on rows whose learned tokens have these logits."""
        tokens, entropy = _certainty(logits, labels)
        return Judged(self.summed(logits, labels, rows, training=False), None, tokens, entropy)


def _certainty(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """How many labels have the highest logit, and the entropy of the distributions, added up."""
    import torch

    right, entropy = torch.zeros((), device=logits.device), torch.zeros((), device=logits.device)
    for some, wanted in zip(torch.split(logits, AT_ONCE), torch.split(labels, AT_ONCE), strict=True):
        right += (some.argmax(-1) == wanted).sum()
        sure = torch.log_softmax(some, -1)
        entropy -= (sure.exp() * sure).sum()
    return right, entropy
