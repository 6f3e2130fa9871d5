"""How a model in memory answers, by its task: with words, with the words that were hidden, or with a label."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lftreg.errors import InvalidData
from lftreg.models.batching import Continuing, Decoding, Done, padded
from lftreg.models.load import Loaded
from lftreg.models.sources import pad_id_of, source_ids
from lftreg.models.tasks import CAUSAL, CLASSIFY, MASKED, SEQ2SEQ
from lftreg.plugins.types import Message

__all__ = ["Decoding", "Generation", "answer"]

BATCH = 16  # texts that are classified in one forward pass
LIKELY = 5  # words that are told for a mask
MASKS = ("[MASK]", "<mask>")  # as people write it, whatever the tokenizer calls it

Conversation = Sequence[Message]
Said = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer: the prompt, the text without special tokens, the number of tokens made.

    `scores` are the probabilities of a classifier's labels, or of the likeliest words for a mask.
    """

    prompt: str
    text: str
    tokens: int
    scores: Mapping[str, float] | None = None


def answer(
    model: Any,
    loaded: Loaded,
    conversations: Sequence[Conversation],
    decoding: Decoding,
    labels: Sequence[str] = (),
    on_text: Said | None = None,
    *,
    tools: Sequence[str] = (),
    on_done: Done | None = None,
) -> list[Generation]:
    """Answers to the last turn of each conversation, in their order; whatever the company, the same ones.

    `labels` are a classifier's, `tools` the functions that each conversation may call. `on_text` gets the words
    as they come, of one conversation; `on_done` how many are answered, and how many there are. Raises
    InvalidData for a conversation that leaves no room for its answer.
    """
    if loaded.task is CLASSIFY:
        return _classified(model, loaded, conversations, labels, on_done)
    if loaded.task is MASKED:
        return _filled(model, loaded, conversations, on_done)
    rows = prompt_rows(loaded, conversations, tools)
    for row in rows:
        _check_room(loaded, len(row), decoding.max_tokens)
    seq2seq = loaded.task is SEQ2SEQ
    chat = None if seq2seq else loaded.chat
    tokenizer = loaded.tokenizer
    speaking = Continuing(
        model,
        decoding,
        pad=chat.pad_id if chat else pad_id_of(tokenizer),
        stops=chat.stop_ids if chat else frozenset([tokenizer.eos_token_id]),
        encoder=seq2seq,
        streamer=None if on_text is None else _streamer(tokenizer, on_text, skip_prompt=not seq2seq),
    )
    return [
        Generation(messages[-1].content, _text(tokenizer, ids), len(ids))
        for messages, ids in zip(conversations, speaking.answers(rows, on_done), strict=True)
    ]


def prompt_rows(
    loaded: Loaded, conversations: Sequence[Conversation], tools: Sequence[str] = ()
) -> list[list[int]]:
    """The token ids that a model is given of each conversation, before its answer."""
    if loaded.task is CAUSAL:
        chat = loaded.chat
        known = tools or [""] * len(conversations)
        return [chat.prompt_ids(turns, more) for turns, more in zip(conversations, known, strict=True)]
    return [source_ids(loaded.tokenizer, messages) for messages in conversations]  # encoders and classifiers


def has_room(loaded: Loaded, prompt: int, more: int) -> bool:
    """Whether a base has positions for a prompt of so many tokens and `more` of an answer."""
    return (limit := _positions(loaded)) is None or prompt + more <= limit


def _text(tokenizer: Any, ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(ids), skip_special_tokens=True)).strip()


def _filled(
    model: Any, loaded: Loaded, conversations: Sequence[Conversation], on_done: Done | None
) -> list[Generation]:
    """The text of each prompt with its masks filled in, likeliest first."""
    import torch

    tokenizer, made = loaded.tokenizer, []
    for messages in conversations:
        prompt = messages[-1].content
        text = prompt
        for mask in MASKS:
            text = text.replace(mask, tokenizer.mask_token)
        ids = torch.tensor([tokenizer(text)["input_ids"]], device=loaded.device)
        _check_room(loaded, ids.shape[1], 0)
        hidden = (ids[0] == tokenizer.mask_token_id).nonzero().flatten()
        if not len(hidden):
            raise InvalidData(
                f"{prompt[:60]!r} hides no word",
                "a masked language model fills in [MASK]: 'Returns take [MASK] days.'",
                code="no-mask",
            )
        with torch.inference_mode():
            chances = model(input_ids=ids).logits[0, hidden].float().softmax(-1)
        likely = chances[0].topk(LIKELY)
        scores = {
            tokenizer.decode([id_]).strip(): chance
            for chance, id_ in zip(likely.values.tolist(), likely.indices.tolist(), strict=True)
        }
        ids[0, hidden] = chances.argmax(-1)
        words = tokenizer.decode(ids[0], skip_special_tokens=True).strip()
        made.append(Generation(prompt, words, len(hidden), scores))
        if on_done is not None:
            on_done(len(made), len(conversations))
    return made


def _classified(
    model: Any,
    loaded: Loaded,
    conversations: Sequence[Conversation],
    labels: Sequence[str],
    on_done: Done | None,
) -> list[Generation]:
    """The likeliest label of each prompt."""
    import torch

    prompts = [messages[-1].content for messages in conversations]
    rows = [list(loaded.tokenizer(prompt)["input_ids"]) for prompt in prompts]
    made = []
    for start in range(0, len(rows), BATCH):
        ids, mask = padded(rows[start : start + BATCH], pad_id_of(loaded.tokenizer), loaded.device)
        _check_room(loaded, ids.shape[1], 0)
        with torch.inference_mode():
            chances = model(input_ids=ids, attention_mask=mask).logits.float().softmax(-1).tolist()
        for prompt, row in zip(prompts[start : start + BATCH], chances, strict=True):
            scores = dict(zip(labels, row, strict=True))
            made.append(Generation(prompt, max(scores, key=lambda label: scores[label]), 0, scores))
        if on_done is not None:
            on_done(len(made), len(rows))
    return made


def _positions(loaded: Loaded) -> int | None:
    limit: int | None = getattr(loaded.model.config, "max_position_embeddings", None)
    return limit


def _check_room(loaded: Loaded, prompt: int, more: int) -> None:
    if not has_room(loaded, prompt, more):
        limit = _positions(loaded) or 0
        raise InvalidData(
            f"{prompt} tokens of prompt and {more} of answer do not fit the base's {limit}",
            f"shorten the prompt, or --max-tokens {max(1, limit - prompt)}",
            code="too-long",
        )


def _streamer(tokenizer: Any, on_text: Said, skip_prompt: bool) -> Any:
    from transformers import TextStreamer

    class Streamer(TextStreamer):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text)

    return Streamer(tokenizer, skip_prompt=skip_prompt, skip_special_tokens=True)
