"""Answers to a text that is read as a whole first: what T5 and its like learn."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData
from lftreg.models.sources import answer_ids, pad_id_of, source_ids
from lftreg.objectives.layout import learned_labels, learned_places
from lftreg.objectives.padding import attended, padded
from lftreg.objectives.rows import IGNORED, Row, Rows, check_answered, within
from lftreg.objectives.tokens import OfTokens
from lftreg.plugins.types import Example, Message

if TYPE_CHECKING:
    import torch


class Seq2Seq(OfTokens):
    """A row's ids go to the encoder, its labels are the last answer and the token that ends it."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.pad_id = pad_id_of(tokenizer)

    def encode(self, examples: Sequence[Example], limit: int, split: str) -> Rows:
        rows = []
        for number, example in enumerate(examples, start=1):
            where = f"{split} row {number}"
            if example.messages:
                check_answered(example.messages, where)
            elif not example.response.strip():
                raise InvalidData(
                    f"{where} has no answer to learn from",
                    "a sequence-to-sequence base learns prompts and responses, or texts and labels",
                    code="empty-answer",
                )
            asked = example.messages[:-1] or (Message("user", example.text),)
            source = source_ids(self.tokenizer, asked)
            rows.append(Row(tuple(source), tuple(answer_ids(self.tokenizer, example.response)), number))
        return within(rows, limit, split)

    def each_pass(self, rows: Sequence[Row], seed: int) -> Sequence[Row]:
        return rows

    def held_out(self, rows: Sequence[Row]) -> Sequence[Row]:
        return rows

    def predicted(self, model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (learned tokens, vocabulary), and the labels."""
        sources = [row.ids for row in rows]
        logits = model(
            input_ids=padded(sources, self.pad_id, model.device),
            attention_mask=attended(sources, model.device),
            labels=padded([row.labels for row in rows], IGNORED, model.device),
        ).logits
        return logits.flatten(0, 1)[learned_places(rows, model.device)].float(), learned_labels(
            rows, model.device
        )
