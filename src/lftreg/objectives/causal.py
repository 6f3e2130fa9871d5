"""Answers, word by word: what a causal language model learns of conversations and of plain texts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData
from lftreg.models.chat import Chat, Segment
from lftreg.objectives.layout import Layout, lay_out
from lftreg.objectives.rows import IGNORED, Row, Rows, check_answered, within
from lftreg.objectives.tokens import OfTokens
from lftreg.plugins.types import Example, Message

if TYPE_CHECKING:
    import torch

OPENING = 6  # tokens; about four words


class Causal(OfTokens):
    """Answers and their stop tokens are learned, prompts are not; of a bare text, all of it.

    `prompt_dropout` is the share of a prompt's words that each pass leaves out anew; `opening_weight` is
    how much the first OPENING tokens of an answer count in training, as a multiple of the others. With
    `room` several rows share a line of so many tokens, none of which sees another's.
    """

    def __init__(
        self,
        chat: Chat,
        prompt_dropout: float = 0.0,
        opening_weight: float = 1.0,
        room: int | None = None,
    ) -> None:
        self.chat = chat
        self.prompt_dropout = prompt_dropout
        self.opening_weight = opening_weight
        self.room = room
        self._words: frozenset[int] | None = None

    def encode(self, examples: Sequence[Example], limit: int, split: str) -> Rows:
        """Rows that are each proven to teach an answer and where it ends."""
        rows: list[Row] = []
        for number, example in enumerate(examples, start=1):
            where = example.origin or f"{split} row {number}"
            if example.text and example.label is None:
                rows += _pieces(example.text, self.chat, limit, number)
                continue
            messages = example.messages or _as_conversation(example)
            check_answered(messages, where)
            for row in _rows(messages, example.tools, self.chat, where, number):
                _prove(row, self.chat, where)
                rows.append(row)
        return within(rows, limit, split)

    def each_pass(self, rows: Sequence[Row], seed: int) -> Sequence[Row]:
        if not self.prompt_dropout:
            return rows
        if self._words is None:
            self._words = words_of(rows, self.chat)
        return thinned(rows, self.prompt_dropout, self._words, seed)

    def held_out(self, rows: Sequence[Row]) -> Sequence[Row]:
        return rows

    def summed(
        self, logits: torch.Tensor, labels: torch.Tensor, rows: Sequence[Row], *, training: bool
    ) -> torch.Tensor:
        """Cross entropy summed over the learned tokens of some rows. A validation weighs all tokens alike."""
        import torch
        import torch.nn.functional as F

        if self.opening_weight == 1 or not training:
            return super().summed(logits, labels, rows, training=training)
        weights = self.weights(rows)
        losses = F.cross_entropy(logits, labels, reduction="none")
        return (losses * torch.tensor(weights, device=losses.device)).sum()

    def weights(self, rows: Sequence[Row]) -> list[float]:
        """How much each learned token counts in training, row by row."""
        if self.opening_weight == 1:
            return [1.0] * sum(row.learned for row in rows)
        return [weight for row in rows for weight in weights_of(row, self.opening_weight)]

    def predicted(self, model: Any, rows: Sequence[Row]) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (learned tokens, vocabulary), and what follows each of these tokens."""
        layout = lay_out(rows, model.device, self.room)
        return logits_of(model, layout).float(), layout.labels


def words_of(rows: Sequence[Row], chat: Chat) -> frozenset[int]:
    """Ids in these rows that stand for letters or digits: not the template's marks, not punctuation."""
    seen = {id_ for row in rows for id_ in row.ids} - set(chat.tokenizer.all_special_ids)
    return frozenset(id_ for id_ in seen if any(c.isalnum() for c in chat.tokenizer.decode([id_])))


def thinned(rows: Sequence[Row], share: float, words: frozenset[int], seed: int) -> list[Row]:
    """Rows whose prompts have lost a random `share` of their words; answers stay whole.

    Word dropout (Iyyer et al. 2015, doi 10.3115/v1/P15-1162): with a few wordings a question, what is
    learned is to go by several words of it, and not by one that happens to be telling.
    """
    dice = random.Random(seed)
    made = []
    for row in rows:
        kept = [
            at
            for at, (id_, label) in enumerate(zip(row.ids, row.labels, strict=True))
            if label != IGNORED or id_ not in words or dice.random() >= share
        ]
        ids, labels = (tuple(side[at] for at in kept) for side in (row.ids, row.labels))
        made.append(Row(ids, labels, row.number))
    return made


def _as_conversation(example: Example) -> tuple[Message, ...]:
    """A labelled text, for a model that answers with words: the label is the answer."""
    return Message("user", example.text), Message("assistant", example.label or "")


def _pieces(text: str, chat: Chat, limit: int, number: int) -> list[Row]:
    """A bare text in rows of at most `limit` ids, its end marked: of a text a part is as good as the whole.

    The first token of a row has nothing before it that could predict it, so it is not learned.
    """
    ids = [*chat.tokenizer(text, add_special_tokens=False)["input_ids"], chat.eos_id]
    if limit < 2:
        raise InvalidData("a row of one token teaches nothing", "--max-length 2 or more", code="all-too-long")
    cut = [tuple(ids[at : at + limit]) for at in range(0, len(ids), limit)]
    return [Row(piece, (IGNORED, *piece[1:]), number) for piece in cut if len(piece) > 1]


def _rows(messages: Sequence[Message], tools: str, chat: Chat, where: str, number: int) -> list[Row]:
    """A conversation as one row, or as one for each of its answers under a template that rewrites earlier turns."""
    try:
        return [_row(segments, number) for segments in chat.learned(messages, tools)]
    except InvalidData as error:
        raise InvalidData(f"{where}: {error.message}", error.hint, code=error.code) from error


def _row(segments: Sequence[Segment], number: int) -> Row:
    ids: list[int] = []
    labels: list[int] = []
    for segment in segments:
        ids += segment.ids
        labels += segment.ids if segment.supervised else [IGNORED] * len(segment.ids)
    return Row(tuple(ids), tuple(labels), number)


def _prove(row: Row, chat: Chat, where: str) -> None:
    """More is learned than the stop token, and the stop token is the last of it."""
    learned = [label for label in row.labels if label != IGNORED]
    if len(learned) < 2 or learned[-1] not in chat.stop_ids:
        raise InvalidData(
            f"the answer of {where} does not end in a stop token: what learns from it never stops",
            "the base's chat template and its eos_token disagree",
            code="no-stop",
        )


def weights_of(row: Row, opening: float) -> list[float]:
    """The weight of every learned token of a row: more for those that open one of its answers.

    With the first words of an answer it is decided which answer is given; the rest follows from them. The
    weights of a row add up to the number of its learned tokens, so a step is of the usual size, however
    it is accumulated.
    """
    weights: list[float] = []
    inside = 0
    for label in row.labels:
        inside = inside + 1 if label != IGNORED else 0
        if inside:
            weights.append(opening if inside <= OPENING else 1.0)
    size = len(weights) / sum(weights)
    return [weight * size for weight in weights]


def logits_of(model: Any, layout: Layout) -> torch.Tensor:
    """Logits (learned tokens, vocabulary) that predict the learned tokens of a layout.

    The vocabulary is by far the widest layer, and prompts need none of it: the hidden states
    that matter are picked before it. Models that do more than one product there (a soft cap, a
    scale) take the long way round.
    """
    found = hidden_of(model, layout)
    if found is None:
        logits: torch.Tensor = model(**_given(layout)).logits.flatten(0, 1)[layout.places]
        return logits
    hidden, head = found
    picked: torch.Tensor = head(hidden)
    return picked


def hidden_of(model: Any, layout: Layout) -> tuple[torch.Tensor, Any] | None:
    """Hidden states (learned tokens, width), and the layer that makes logits of them; None where more than it does."""
    core = model.get_base_model() if hasattr(model, "get_base_model") else model
    head = core.get_output_embeddings()
    decoder = core.base_model
    if head is None or decoder is core or _shapes_logits(core.config):
        return None
    hidden = decoder(**_given(layout)).last_hidden_state
    return hidden.flatten(0, 1)[layout.places], head


def _given(layout: Layout) -> dict[str, Any]:
    given: dict[str, Any] = {"input_ids": layout.ids, "use_cache": False}
    if layout.positions is not None:  # several rows share a line: attention is told apart by these
        given["position_ids"] = layout.positions
    return given


def _shapes_logits(config: Any) -> bool:
    """Whether a model changes its logits after the output layer."""
    shaping = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
    return any(getattr(config, name, None) not in (None, 1, 1.0) for name in shaping)
