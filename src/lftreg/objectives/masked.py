"""Words that were hidden: what BERT and its like learn of a domain's texts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData
from lftreg.models.sources import pad_id_of, passage_of
from lftreg.objectives.layout import learned_labels, learned_places
from lftreg.objectives.padding import attended, padded
from lftreg.objectives.rows import IGNORED, Row, Rows, within
from lftreg.objectives.tokens import OfTokens
from lftreg.plugins.types import Example

if TYPE_CHECKING:
    import torch

SHARE = 0.15  # of the tokens of a text that are learned in one pass
HIDDEN, SWAPPED = 0.8, 0.1  # of these, shares that become the mask, and another token


class Masked(OfTokens):
    """Masked language modelling (Devlin et al. 2019, arXiv 1810.04805), with new masks in every pass."""

    def __init__(self, tokenizer: Any) -> None:
        if tokenizer.mask_token_id is None:
            raise InvalidData(
                "the base's tokenizer has no mask token",
                "choose an encoder such as BERT, with its own tokenizer",
                code="no-mask",
            )
        self.tokenizer = tokenizer
        self.pad_id = pad_id_of(tokenizer)
        self._special = frozenset(tokenizer.all_special_ids)

    def encode(self, examples: Sequence[Example], limit: int, split: str) -> Rows:
        """Texts in pieces of at most `limit` ids; of a conversation, all that is said."""
        rows: list[Row] = []
        for number, example in enumerate(examples, start=1):
            pieces = self._pieces(passage_of(example), limit, number)
            if not pieces:
                raise InvalidData(
                    f"{split} row {number} has no text to learn from", "give it a text", code="empty-text"
                )
            rows += pieces
        return within(rows, limit, split)

    def each_pass(self, rows: Sequence[Row], seed: int) -> Sequence[Row]:
        dice = random.Random(seed)
        return [self._masked(row, dice) for row in rows]

    def held_out(self, rows: Sequence[Row]) -> Sequence[Row]:
        return self.each_pass(rows, seed=0)

    def predicted(self, model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (hidden tokens, vocabulary), and what they were."""
        ids = [row.ids for row in rows]
        logits = model(
            input_ids=padded(ids, self.pad_id, model.device), attention_mask=attended(ids, model.device)
        ).logits
        return logits.flatten(0, 1)[learned_places(rows, model.device)].float(), learned_labels(
            rows, model.device
        )

    def _pieces(self, text: str, limit: int, number: int) -> list[Row]:
        cut = self.tokenizer(
            text,
            truncation=True,
            max_length=limit,
            return_overflowing_tokens=True,
        )["input_ids"]
        return [Row(tuple(ids), tuple(ids), number) for ids in cut if set(ids) - self._special]

    def _masked(self, row: Row, dice: random.Random) -> Row:
        """A row with some of its words hidden, one at least; those alone are learned."""
        words = [at for at, id_ in enumerate(row.ids) if id_ not in self._special]
        chosen = dice.sample(words, max(1, round(SHARE * len(words))))
        ids, labels = list(row.ids), [IGNORED] * len(row.ids)
        for at in sorted(chosen):
            labels[at] = ids[at]
            fate = dice.random()
            if fate < HIDDEN:
                ids[at] = self.tokenizer.mask_token_id
            elif fate < HIDDEN + SWAPPED:
                # Of added words none need have an embedding.
                ids[at] = dice.randrange(self.tokenizer.vocab_size)
        return Row(tuple(ids), tuple(labels), row.number)
