"""A label for a text: what an encoder with a head for labels learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData
from lftreg.models.sources import pad_id_of
from lftreg.objectives import Judged
from lftreg.objectives.padding import attended, padded
from lftreg.objectives.rows import Row, Rows, within
from lftreg.plugins.types import Example

if TYPE_CHECKING:
    import torch


def labels_of(examples: Sequence[Example]) -> tuple[str, ...]:
    """The labels of a classifier's data, sorted: their order is that of its logits.

    Raises InvalidData where there is nothing to tell apart.
    """
    labels = sorted({example.label for example in examples if example.label is not None})
    if len(labels) < 2:
        raise InvalidData(
            f"every row has the label {labels[0]!r}" if labels else "no row has a label",
            "a classifier needs at least two labels",
            code="one-label",
        )
    return tuple(labels)


class Classify:
    """A row's one label is the place of its class among `labels`."""

    def __init__(self, tokenizer: Any, labels: tuple[str, ...]) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id_of(tokenizer)
        self._place = {label: number for number, label in enumerate(labels)}

    def encode(self, examples: Sequence[Example], limit: int, split: str) -> Rows:
        rows = []
        for number, example in enumerate(examples, start=1):
            if example.label not in self._place or not example.text.strip():
                raise InvalidData(
                    f"{split} row {number} has no text or no label",
                    "every row of a classifier's data needs both",
                    code="no-label",
                )
            ids = tuple(self.tokenizer(example.text)["input_ids"])
            rows.append(Row(ids, (self._place[example.label],), number))
        return within(rows, limit, split)

    def each_pass(self, rows: Sequence[Row], seed: int) -> Sequence[Row]:
        return rows

    def held_out(self, rows: Sequence[Row]) -> Sequence[Row]:
        return rows

    def loss_sum(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        """Cross entropy summed over the rows."""
        return self.losses(model, rows).sum()

    def losses(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        return self._losses(self._logits(model, rows), rows)

    def judged(self, model: Any, rows: Sequence[Row]) -> Judged:
        logits = self._logits(model, rows)
        right = (logits.argmax(-1) == self._classes(logits, rows)).sum()
        return Judged(self._losses(logits, rows).sum(), right)

    def _losses(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        import torch.nn.functional as F

        return F.cross_entropy(logits.float(), self._classes(logits, rows), reduction="none")

    def _classes(self, logits: torch.Tensor, rows: Sequence[Row]) -> torch.Tensor:
        import torch

        return torch.tensor([row.labels[0] for row in rows], device=logits.device)

    def _logits(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        ids = [row.ids for row in rows]
        logits: torch.Tensor = model(
            input_ids=padded(ids, self.pad_id, model.device), attention_mask=attended(ids, model.device)
        ).logits
        return logits
