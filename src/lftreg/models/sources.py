"""What models that do not chat are given to read: a conversation as a source, an example as a passage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lftreg.errors import InvalidData
from lftreg.plugins.types import Example, Message


def source_text(messages: Sequence[Message]) -> str:
    """A conversation for an encoder: a question as it is, more than one turn with who said it."""
    if len(messages) == 1:
        return messages[0].content
    return "\n".join(f"{message.role}: {message.content}" for message in messages)


def source_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """What the encoder of a sequence-to-sequence model reads."""
    return list(tokenizer(source_text(messages))["input_ids"])


def answer_ids(tokenizer: Any, answer: str) -> list[int]:
    """What its decoder says, with the token that ends it. Raises InvalidData where there is none."""
    if tokenizer.eos_token_id is None:
        raise InvalidData(
            "the base's tokenizer has no end-of-sequence token",
            "set eos_token in its tokenizer_config.json",
            code="no-eos",
        )
    return [*tokenizer(text_target=answer, add_special_tokens=False)["input_ids"], tokenizer.eos_token_id]


def passage_of(example: Example) -> str:
    """All that is said in an example, as one text."""
    return example.text or "\n".join(message.content for message in example.messages)


def pad_id_of(tokenizer: Any) -> int:
    """The id that fills rows up; masked where it stands, so any will do where a tokenizer has none."""
    return 0 if tokenizer.pad_token_id is None else int(tokenizer.pad_token_id)
