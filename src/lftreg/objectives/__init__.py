"""What a model learns, one file a kind: how an example becomes a row, and what the loss of rows is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from lftreg.models.tasks import CAUSAL, CLASSIFY, SEQ2SEQ, Task
from lftreg.objectives.rows import Row, Rows
from lftreg.plugins.types import Example

if TYPE_CHECKING:
    import torch


class Judged(NamedTuple):
    """What a validation finds on some rows, as sums that can be added up; None where a figure means nothing.

    `loss` is in nats, `rows` counts the rows that are right, `tokens` the learned tokens that the model puts
    first, `entropy` adds up the entropy in nats of what it says in their places.
    """

    loss: torch.Tensor
    rows: torch.Tensor | None = None
    tokens: torch.Tensor | None = None
    entropy: torch.Tensor | None = None


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

    def judged(self, model: Any, rows: Sequence[Row]) -> Judged:
        """`loss_sum` as a validation weighs it, and how right and how sure the model is."""


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
