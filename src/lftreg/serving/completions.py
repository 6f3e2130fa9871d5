"""POST /v1/completions, and POST /generate for the simplest of clients."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lftreg.plugins.types import Message
from lftreg.serving.bodies import Fields, checked_text
from lftreg.serving.catalog import base_id
from lftreg.serving.errors import bad
from lftreg.serving.shapes import Ask, Head
from lftreg.serving.streaming import Answer, Piece
from lftreg.serving.wanted import (
    FREE,
    MOST_ANSWERS,
    NEUTRAL,
    SHARED,
    Wanted,
    chat_ids,
    check_size,
    most_logprobs,
    read_choices,
    read_sampling,
    read_stream,
    text_ids,
)

SHORT = 16  # tokens, as OpenAI's API has it
GENERATED = 128  # tokens, as `lftreg generate` has it

Prompts = tuple[tuple[int, ...], ...]


class Completions:
    """Texts that go on."""

    prefix, kind = "cmpl-", "text_completion"

    def read(self, fields: Fields, ask: Ask) -> Wanted:
        fields.known([*SHARED, "prompt"], NEUTRAL, FREE)
        voice = ask.voice(fields.text("model"))
        prompts = read_prompts(fields, ask)
        stream, usage = read_stream(fields)
        most = fields.count("max_tokens", 1, 2**31, SHORT) or SHORT
        logprobs = most_logprobs(fields, "logprobs")
        sampling = read_sampling(fields, max_tokens=most, temperature=1.0, logprobs=logprobs)
        return Wanted(voice, prompts, sampling, read_choices(fields, len(prompts)), stream, usage)

    def whole(self, head: Head, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            _choice(index, answer.text, head.text_logprobs(index, answer.tokens), answer.reason)
            for index, answer in enumerate(answers)
        ]
        return head.document("text_completion", choices) | {"usage": head.usage(answers)}

    def opening(self, head: Head) -> Iterable[dict[str, Any]]:
        return ()

    def piece(self, head: Head, piece: Piece) -> Iterable[dict[str, Any]]:
        logprobs = head.text_logprobs(piece.index, piece.tokens) if piece.tokens else None
        if piece.text or logprobs or piece.reason is not None:
            yield head.chunk([_choice(piece.index, piece.text, logprobs, piece.reason)])


class Generate:
    """One question, one answer, nothing around it."""

    prefix, kind = "gen-", "generate"

    def read(self, fields: Fields, ask: Ask) -> Wanted:
        fields.known(
            ["prompt", "max_length", "temperature", "adapter", "seed", "top_p", "stop", "ignore_eos"], {}
        )
        voice = ask.voice(fields.text("adapter", base_id(ask.loaded.base)), "adapter")
        prompt = fields.text("prompt")
        check_size(len(prompt), ask.longest)
        ids = chat_ids(ask.loaded, [Message("user", prompt)])
        most = fields.count("max_length", 1, 2**31, None) or min(GENERATED, max(1, ask.longest - len(ids)))
        return Wanted(voice, (ids,), read_sampling(fields, max_tokens=most, temperature=0.0, logprobs=None))

    def whole(self, head: Head, answers: Sequence[Answer]) -> dict[str, Any]:
        (answer,) = answers
        return {
            "response": answer.text.strip(),
            "adapter": head.model,
            "tokens": answer.said,
            "finish_reason": answer.reason,
        }

    def opening(self, head: Head) -> Iterable[dict[str, Any]]:
        return ()

    def piece(self, head: Head, piece: Piece) -> Iterable[dict[str, Any]]:
        return ()


def read_prompts(fields: Fields, ask: Ask) -> Prompts:
    """A text, a list of texts, token ids, or a list of lists of them, as token ids. Raises Refused."""
    given = fields.get("prompt")
    if given is None:
        raise bad("prompt is missing", "prompt", code="missing_parameter")
    if isinstance(given, str) or (given and isinstance(given, list) and all(map(_is_id, given))):
        given = [given]
    if not isinstance(given, list) or not given:
        fields.fail("prompt", "a text, texts, or token ids")
    if len(given) > MOST_ANSWERS:
        raise bad(f"{len(given)} prompts are too many: up to {MOST_ANSWERS}", "prompt")
    return tuple(_ids(one, f"prompt[{n}]", ask) for n, one in enumerate(given))


def _ids(given: Any, where: str, ask: Ask) -> tuple[int, ...]:
    if isinstance(given, str):
        check_size(len(given), ask.longest)
        return text_ids(ask.loaded, checked_text(given, where))
    if not isinstance(given, list) or not all(_is_id(one) for one in given):
        raise bad(f"{where} has to be a text or a list of token ids", "prompt")
    words = int(ask.loaded.model.config.get_text_config().vocab_size)
    if any(not 0 <= one < words for one in given):
        raise bad(f"{where} holds an id outside 0 to {words - 1}", "prompt")
    return tuple(given)


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _choice(index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": reason}
