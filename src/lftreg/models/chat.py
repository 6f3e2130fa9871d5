"""Conversations as token ids, with the part that is learned marked.

A conversation is rendered turn by turn through the base's own chat template, and each piece is
tokenised by itself. So what training sees before an answer is, id for id, what generation is
given, and no token straddles the border between prompt and answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lftreg.errors import InvalidData
from lftreg.plugins.types import Message

# For bases that were never taught to chat (GPT-2, a bare LLaMA).
PLAIN_TEMPLATE = (
    "{% for m in messages %}"
    "{% if m['role'] == 'assistant' %}{{ 'Answer: ' + m['content'] + eos_token + '\n' }}"
    "{% else %}{{ ('Question: ' if m['role'] == 'user' else '') + m['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Answer:' }}{% endif %}"
)


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

    def prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        """The ids that generation continues: the conversation, and the opening of an answer."""
        answered = max((n for n, m in enumerate(messages, start=1) if m.role == "assistant"), default=0)
        ids = [id_ for segment in self.segments(messages[:answered]) for id_ in segment.ids]
        said = self._render(messages[:answered]) if answered else ""
        return ids + self._encode(self._render(messages, opening=True).removeprefix(said))

    def segments(self, messages: Sequence[Message]) -> list[Segment]:
        """The conversation up to its last answer; answers, each with its stop token, are supervised."""
        segments: list[Segment] = []
        done = ""
        for turn, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._render(messages[:turn], opening=True)
            after = self._render(messages[: turn + 1])
            appends = before.startswith(done) and after.startswith(before)
            if not appends or after == before:
                self._refuse(appends, silent=after == self._render(messages[:turn]))
            segments.append(Segment(tuple(self._encode(before.removeprefix(done))), supervised=False))
            segments += self._answer(after.removeprefix(before))
            done = after
        return segments

    def decode(self, ids: Sequence[int]) -> str:
        """Text of an answer, special tokens left out."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True)).strip()

    def _refuse(self, appends: bool, silent: bool) -> None:
        """Raises InvalidData for a template that does not write a conversation turn by turn."""
        if silent:
            raise InvalidData(
                "the base's chat template leaves out what the assistant says",
                "correct its chat_template: it has to know the role `assistant`",
                code="template-leaves-out",
            )
        if not appends:
            raise InvalidData(
                "the base's chat template rewrites earlier turns, so answers cannot be told from prompts",
                "use single-turn examples, or a base whose template only appends",
                code="template-rewrites",
            )

    def _answer(self, text: str) -> list[Segment]:
        """The learned ids up to the first stop token, and what the template writes after it."""
        ids = self._encode(text)
        stop = next((at for at, id_ in enumerate(ids) if id_ in self.stop_ids), None)
        if stop is None:  # a template that never ends an answer would teach the model to go on for ever
            return [Segment((*ids, self.eos_id), supervised=True)]
        learned = Segment(tuple(ids[: stop + 1]), supervised=True)
        rest = Segment(tuple(ids[stop + 1 :]), supervised=False)
        return [learned, rest] if rest.ids else [learned]

    def _render(self, messages: Sequence[Message], *, opening: bool = False) -> str:
        turns = [{"role": message.role, "content": message.content} for message in messages]
        options: dict[str, Any] = {"chat_template": self._template} if self._template else {}
        try:
            text = self.tokenizer.apply_chat_template(
                turns, tokenize=False, add_generation_prompt=opening, **options
            )
        except _template_errors() as error:
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise InvalidData(
                f"the base's chat template fails: {lines[0]}",
                "it may want another order of turns; correct chat_template.jinja otherwise",
                code="template-fails",
            ) from error
        return str(text)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def _template_errors() -> tuple[type[Exception], ...]:
    """What a template that someone wrote may raise: by itself, or by what it does to a turn."""
    from jinja2 import TemplateError

    return TemplateError, TypeError, ValueError, LookupError, AttributeError
