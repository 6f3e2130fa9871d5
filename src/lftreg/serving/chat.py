"""POST /v1/chat/completions"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from lftreg.plugins.types import Message, Role
from lftreg.serving.bodies import Fields, checked_text
from lftreg.serving.errors import bad
from lftreg.serving.shapes import Ask, Head
from lftreg.serving.streaming import Answer, Piece
from lftreg.serving.wanted import (
    FREE,
    NEUTRAL,
    SHARED,
    Wanted,
    chat_ids,
    check_size,
    most_logprobs,
    read_choices,
    read_sampling,
    read_stream,
    room_for,
)

MOST_MESSAGES = 400  # a template is run anew for every answer among them
ROLES: dict[str, Role] = {"system": "system", "developer": "system", "user": "user", "assistant": "assistant"}
# What the answer of a client of OpenAI's holds, and comes back with it as a turn.
NEUTRAL_TURN: dict[str, tuple[Any, ...]] = {
    "refusal": (),
    "tool_calls": ([],),
    "function_call": (),
    "tool_call_id": (),
    "audio": (),
    "annotations": ([],),
    "reasoning_content": ("",),
}
TEXT_PARTS = ("text", "input_text", "output_text")


class Chat:
    """Conversations."""

    prefix, kind = "chatcmpl-", "chat.completion.chunk"

    def read(self, fields: Fields, ask: Ask) -> Wanted:
        fields.known([*SHARED, "messages", "max_completion_tokens", "top_logprobs"], NEUTRAL, FREE)
        voice = ask.voice(fields.text("model"))
        messages = read_messages(fields)
        stream, usage = read_stream(fields)
        check_size(sum(len(message.content) for message in messages), ask.longest)
        ids = chat_ids(ask.loaded, messages)
        most = fields.count("max_completion_tokens", 1, 2**31, None)
        most = most or fields.count("max_tokens", 1, 2**31, None) or room_for(ask.loaded, ask.longest, (ids,))
        sampling = read_sampling(fields, max_tokens=most, temperature=1.0, logprobs=_logprobs(fields))
        return Wanted(voice, (ids,), sampling, read_choices(fields), stream, usage)

    def whole(self, head: Head, answers: Sequence[Answer]) -> dict[str, Any]:
        choices = [
            {
                "index": index,
                "message": {"role": "assistant", "content": answer.text, "refusal": None},
                "logprobs": head.chat_logprobs(answer.tokens),
                "finish_reason": answer.reason,
            }
            for index, answer in enumerate(answers)
        ]
        return head.document("chat.completion", choices) | {"usage": head.usage(answers)}

    def opening(self, head: Head) -> Iterable[dict[str, Any]]:
        for index in range(head.wanted.n):
            yield head.chunk([_choice(index, {"role": "assistant", "content": ""})])

    def piece(self, head: Head, piece: Piece) -> Iterable[dict[str, Any]]:
        logprobs = head.chat_logprobs(piece.tokens) if piece.tokens else None
        if piece.text or logprobs:
            yield head.chunk([_choice(piece.index, {"content": piece.text}, logprobs)])
        if piece.reason is not None:
            yield head.chunk([_choice(piece.index, {}, None, piece.reason)])


def read_messages(fields: Fields) -> list[Message]:
    """The turns of a conversation. Raises Refused for what is none, and for tools and pictures."""
    given = fields.get("messages")
    if given is None:
        raise bad("messages is missing", "messages", code="missing_parameter")
    if not isinstance(given, list) or not given:
        fields.fail("messages", "a list with at least one message")
    if len(given) > MOST_MESSAGES:
        raise bad(f"{len(given)} messages are too many: up to {MOST_MESSAGES}", "messages")
    return [_message(turn, f"messages[{number}]") for number, turn in enumerate(given)]


def _message(given: Any, where: str) -> Message:
    if not isinstance(given, dict):
        raise bad(f"{where} has to be an object", where)
    fields = Fields(given, f"{where}.")
    role = fields.text("role")
    if role not in ROLES:
        raise bad(
            f"{where}.role {role[:40]!r} is not supported", f"{where}.role", hint=f"one of {', '.join(ROLES)}"
        )
    fields.known(["role", "content", "name"], NEUTRAL_TURN)
    content = fields.get("content")
    if isinstance(content, list):
        content = "".join(_part(part, f"{where}.content[{n}]") for n, part in enumerate(content))
    else:
        content = fields.text("content")
    name = fields.text("name", "")
    return Message(ROLES[role], content, name=name)


def _part(given: Any, where: str) -> str:
    if not isinstance(given, dict) or given.get("type") not in TEXT_PARTS:
        raise bad(f"{where} is no text: only texts are read", where, hint='{"type": "text", "text": "..."}')
    if not isinstance(given.get("text"), str):
        raise bad(f"{where}.text has to be a text", f"{where}.text")
    return checked_text(given["text"], f"{where}.text")


def _logprobs(fields: Fields) -> int | None:
    told, most = fields.flag("logprobs"), most_logprobs(fields, "top_logprobs")
    if most is not None and not told:
        raise bad("top_logprobs needs logprobs: true", "top_logprobs")
    return (most or 0) if told else None


def _choice(
    index: int, delta: dict[str, Any], logprobs: dict[str, Any] | None = None, reason: str | None = None
) -> dict[str, Any]:
    return {"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
