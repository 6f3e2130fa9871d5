"""Conversations as token ids, with the part that is learned marked.

A conversation is rendered turn by turn through the base's own chat template, and each piece is
tokenised by itself. So what training sees before an answer is, id for id, what generation is
given, and no token straddles the border between prompt and answer.

Some templates rewrite what was said before: they take the thinking out of earlier answers, or put the
system prompt into the last question. There every answer is learned after the prompt that generation would
be given for it, and not as a part of a longer conversation. Whatever a template leaves out is refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

from lftreg.errors import InvalidData
from lftreg.plugins.types import Message

# For bases that were never taught to chat (GPT-2, a bare LLaMA).
PLAIN_TEMPLATE = (
    "{% if tools %}{{ 'Tools: ' + tools | tojson + '\n' }}{% endif %}"
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{{ 'Answer: ' + m['content'] }}"
    "{% for call in m['tool_calls'] %}{% if m['content'] or not loop.first %}{{ '\n' }}{% endif %}"
    "{{ 'Call: ' + call['function']['name'] + ' ' + call['function']['arguments'] | tojson }}{% endfor %}"
    "{{ eos_token + '\n' }}"
    "{% elif m['role'] == 'tool' %}{{ 'Result: ' + m['content'] + '\n' }}"
    "{% else %}{{ ('Question: ' if m['role'] == 'user' else '') + m['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
)
END_OF_THINKING = "</think>"


@dataclass(frozen=True, slots=True)
class Segment:
    """A run of token ids that is learned as a whole or not at all."""

    ids: tuple[int, ...]
    supervised: bool


class Chat:
    """A base's way of writing conversations: its tokenizer, its template, its stop tokens.

    Raises InvalidData where the tokenizer has no end-of-sequence token: nothing trained with it
    could ever stop.
    """

    def __init__(self, tokenizer: Any, stop_ids: Sequence[int] = ()) -> None:
        if tokenizer.eos_token_id is None:
            raise InvalidData(
                "the base's tokenizer has no end-of-sequence token",
                "set eos_token in its tokenizer_config.json",
                code="no-eos",
            )
        self.tokenizer = tokenizer
        self.eos_id: int = tokenizer.eos_token_id
        self.stop_ids = frozenset([self.eos_id, *stop_ids])
        self.pad_id: int = self.eos_id if tokenizer.pad_token_id is None else tokenizer.pad_token_id
        self._template = None if tokenizer.chat_template else PLAIN_TEMPLATE

    def prompt_ids(self, messages: Sequence[Message], tools: str = "") -> list[int]:
        """The ids that generation continues: the conversation, and the opening of an answer."""
        whole = self._render(messages, tools, opening=True)
        answered = max((n for n, m in enumerate(messages, start=1) if m.role == "assistant"), default=0)
        pieces = self._pieces(messages[:answered], tools)
        said = "".join(before + answer for before, answer in pieces or ())
        if pieces is None or not whole.startswith(said):
            return self._encode(whole)
        ids = [id_ for before, answer in pieces for id_ in self._piece_ids(before, answer)]
        return ids + self._encode(whole.removeprefix(said))

    def segments(self, messages: Sequence[Message], tools: str = "") -> list[Segment]:
        """The conversation up to its last answer; answers, each with its stop token, are supervised.

        Raises InvalidData where the template rewrites earlier turns, refuses the conversation, or leaves out
        a part of it.
        """
        pieces = self._pieces(messages, tools)
        if pieces is None:
            raise InvalidData(
                "the base's chat template rewrites earlier turns, so its answers cannot be learned together",
                "learn each by itself, or use a base whose template only appends",
                code="template-rewrites",
            )
        check_shown(messages, tools, "".join(before + answer for before, answer in pieces))
        segments: list[Segment] = []
        for before, answer in pieces:
            segments += [Segment(tuple(self._encode(before)), supervised=False), *self._answer(answer)]
        return segments

    def last_answer(self, messages: Sequence[Message], tools: str = "") -> list[Segment]:
        """What generation is given for the last answer of a conversation, and that answer, supervised."""
        _, answer = self._asked(messages, tools)
        check_shown(messages, tools, self._render(messages, tools))
        prompt = Segment(tuple(self.prompt_ids(messages[:-1], tools)), supervised=False)
        return [prompt, *self._answer(answer)]

    def learned(self, messages: Sequence[Message], tools: str = "") -> Iterator[list[Segment]]:
        """What is learned of a conversation: all its answers at once, or one by one under a template that rewrites."""
        ends = [n for n, message in enumerate(messages, start=1) if message.role == "assistant"]
        if len(ends) < 2 or not self.rewrites(messages, tools):
            yield self.segments(messages, tools)
            return
        for end in ends:
            yield self.last_answer(messages[:end], tools)

    def rewrites(self, messages: Sequence[Message], tools: str = "") -> bool:
        """Whether the template writes earlier turns of this conversation in another way once it goes on."""
        return self._pieces(messages, tools) is None

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _answer(self, text: str) -> list[Segment]:
        """The learned ids up to the first stop token, and what the template writes after it."""
        ids = self._encode(text)
        stop = next((at for at, id_ in enumerate(ids) if id_ in self.stop_ids), None)
        if stop is None:  # a template that never ends an answer would teach the model to go on for ever
            return [Segment((*ids, self.eos_id), supervised=True)]
        learned = Segment(tuple(ids[: stop + 1]), supervised=True)
        rest = Segment(tuple(ids[stop + 1 :]), supervised=False)
        return [learned, rest] if rest.ids else [learned]

    def _pieces(self, messages: Sequence[Message], tools: str) -> list[tuple[str, str]] | None:
        """What stands before each answer, and the answer; None where a template does not only append."""
        pieces: list[tuple[str, str]] = []
        done = ""
        for turn, message in enumerate(messages):
            if message.role == "assistant":
                before, answer = self._asked(messages[: turn + 1], tools)
                if not before.startswith(done):
                    return None
                pieces.append((before.removeprefix(done), answer))
                done = before + answer
        return pieces

    def _asked(self, messages: Sequence[Message], tools: str) -> tuple[str, str]:
        """A conversation in two: up to where its last answer is asked for, and that answer."""
        before = self._render(messages[:-1], tools, opening=True)
        after = self._render(messages, tools)
        if not after.startswith(before):
            said = messages[-1].content
            if not _appears(said, after):  # there is no room for an answer at all
                _left_out(f"the assistant turn {said.strip()[:40]!r}", "assistant")
            raise InvalidData(
                "the base's chat template writes a conversation with its last answer in another way than when "
                "it asks for it, so answers cannot be told from prompts",
                "leave the system prompt out, or put it into the first question"
                if messages[0].role == "system"
                else "use a base whose template writes an answer behind its own generation prompt",
                code="template-rewrites",
            )
        return before, after.removeprefix(before)

    def _piece_ids(self, before: str, answer: str) -> list[int]:
        return self._encode(before) + [id_ for segment in self._answer(answer) for id_ in segment.ids]

    def _render(self, messages: Sequence[Message], tools: str, *, opening: bool = False) -> str:
        options: dict[str, Any] = {"chat_template": self._template} if self._template else {}
        if tools:
            options["tools"] = json.loads(tools)
        try:
            text = self.tokenizer.apply_chat_template(
                [_turn(message) for message in messages],
                tokenize=False,
                add_generation_prompt=opening,
                **options,
            )
        except Exception as error:  # noqa: BLE001 a template is a stranger's program, and may raise anything
            _refused(messages, error)
        return str(text)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def check_shown(messages: Sequence[Message], tools: str, text: str) -> None:
    """Raise InvalidData where a rendering lacks what was said: a template may leave it out without a word.

    Of an earlier answer the thinking may be missing, which many templates take out on purpose.
    """
    last = max((n for n, m in enumerate(messages) if m.role == "assistant"), default=0)
    for number, message in enumerate(messages):
        said = message.content
        thought, ended, answer = said.rpartition(END_OF_THINKING)
        parts = [answer if ended else said]
        if ended and number == last:
            parts.append(thought.replace("<think>", ""))
        for part in parts:
            if not _appears(part, text):
                _left_out(f"the {message.role} turn {part.strip()[:40]!r}", message.role)
        for call in message.calls:
            for part in (call.name, *_texts(json.loads(call.arguments))):
                if not _appears(part, text):
                    _left_out(f"the call of {call.name!r}", "tool")
    for tool in json.loads(tools) if tools else ():
        if not _appears(tool["function"]["name"], text):
            _left_out(f"the function {tool['function']['name']!r} of `tools`", "tool")


def _turn(message: Message) -> dict[str, Any]:
    """A turn as templates know it, with nothing in it that it does not have."""
    turn: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        turn["tool_calls"] = [
            {"type": "function", "function": {"name": call.name, "arguments": json.loads(call.arguments)}}
            | ({"id": call.id} if call.id else {})
            for call in message.calls
        ]
    if message.name:
        turn["name"] = message.name
    if message.call:
        turn["tool_call_id"] = message.call
    return turn


def _refused(messages: Sequence[Message], error: Exception) -> NoReturn:
    roles = [message.role for message in messages]
    hint = "its roles have to alternate as the template wants them: user, assistant, user, assistant"
    if "tool" in roles or any(message.calls for message in messages):
        hint = "use a base whose chat template knows tools, or leave these rows out"
    elif "system" in roles:
        hint = "the template may know no system prompt: put it into the first question"
    raise InvalidData(
        f"the base's chat template refuses the conversation: {str(error).strip() or type(error).__name__}",
        hint,
        code="template-refuses",
    ) from error


def _left_out(what: str, role: str) -> NoReturn:
    hint = (
        "use a base whose chat template knows tools, or leave these rows out"
        if role in ("tool", "assistant")
        else f"use a base whose chat template writes {role} turns"
    )
    raise InvalidData(f"the base's chat template leaves out {what}", hint, code="template-drops")


def _appears(said: str, text: str) -> bool:
    """Whether a text stands in a rendering: as it is, as JSON writes it, or with other spaces."""
    said = said.strip()
    if said in text:
        return True
    written = (json.dumps(said, ensure_ascii=ascii_)[1:-1] for ascii_ in (False, True))
    return any(one in text for one in written) or "".join(said.split()) in "".join(text.split())


def _texts(value: Any) -> Iterator[str]:
    """Every text in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _texts(inner)
