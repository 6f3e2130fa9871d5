"""What a model learns, one file a kind: how an example becomes a row, and what the loss of rows is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

from lftreg.models.tasks import CAUSAL, CLASSIFY, SEQ2SEQ, Task
from lftreg.objectives.rows import Row, Rows
from lftreg.plugins.types import Example

if TYPE_CHECKING:
    import torch


class Objective(Protocol):
    """A kind of learning. Losses are sums, in nats, over all that rows learn."""

    def encode(self, examples: Sequence[Example], limit: int, split: str) -> Rows:
        """Rows of at most `limit` ids. Raises InvalidData that names the first example that teaches nothing."""

    def each_pass(self, rows: Sequence[Row], seed: int) -> Sequence[Row]:
        """The rows as one pass over the data sees them."""

    def held_out(self, rows: Sequence[Row]) -> Sequence[Row]:
        """The rows as every validation sees them."""

    def loss_sum(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        """The loss of a model on some rows, which may differ in length."""

    def losses(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        """The loss of each row, (rows,), as a validation weighs it; they add up to `loss_sum`."""

    def judged(self, model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor | None]:
        """`loss_sum`, and how many rows the model gets right; None where right and wrong mean nothing."""


def make_objective(
    task: Task,
    tokenizer: Any,
    stop_ids: Sequence[int] = (),
    *,
    prompt_dropout: float = 0.0,
    opening_weight: float = 1.0,
    labels: Sequence[str] = (),
    room: int | None = None,
) -> Objective:
    """The objective of a task. `labels` are a classifier's, in the order of its logits.

    `room` packs the rows of a causal language model into lines of so many tokens.
    """
    if task is CAUSAL:
        from lftreg.models.chat import Chat
        from lftreg.objectives.causal import Causal

        return Causal(Chat(tokenizer, stop_ids), prompt_dropout, opening_weight, room)
    if task is SEQ2SEQ:
        from lftreg.objectives.seq2seq import Seq2Seq

        return Seq2Seq(tokenizer)
    if task is CLASSIFY:
        from lftreg.objectives.classify import Classify

        return Classify(tokenizer, tuple(labels))
    from lftreg.objectives.masked import Masked

    return Masked(tokenizer)
