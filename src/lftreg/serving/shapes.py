"""What answers have in common, whatever is asked for them: who, when, usage, and tokens as texts."""

from __future__ import annotations

import math
import re
import secrets
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from lftreg.serving.bodies import Fields
from lftreg.serving.catalog import base_id
from lftreg.serving.sampling import Chosen
from lftreg.serving.streaming import Answer, Piece
from lftreg.serving.voices import Voice
from lftreg.serving.wanted import Wanted

if TYPE_CHECKING:
    from lftreg.models.load import Loaded

REPLACEMENT = "\ufffd"
NEVER = -9999.0
BYTE = re.compile(r"<0x([0-9A-F]{2})>")


class Ask(Protocol):
    """What a request is read with: the base, how long answers may get, and who is meant by `model`."""

    @property
    def loaded(self) -> Loaded: ...

    @property
    def longest(self) -> int: ...

    def voice(self, asked: str, param: str = "model") -> Voice: ...


class Shape(Protocol):
    """One kind of request: how its fields are read, and what its answers look like, whole and in pieces."""

    prefix: str  # of ids
    kind: str  # of the documents of a stream

    def read(self, fields: Fields, ask: Ask) -> Wanted: ...

    def whole(self, head: Head, answers: Sequence[Answer]) -> dict[str, Any]: ...

    def opening(self, head: Head) -> Iterable[dict[str, Any]]: ...

    def piece(self, head: Head, piece: Piece) -> Iterable[dict[str, Any]]: ...


@dataclass(slots=True)
class Head:
    """A request, and what stands at the head of all that is answered to it."""

    wanted: Wanted
    loaded: Loaded
    prefix: str
    kind: str
    id: str = field(init=False)
    created: int = field(init=False)
    lengths: dict[int, int] = field(default_factory=dict)  # characters of each answer's tokens so far

    def __post_init__(self) -> None:
        self.id, self.created = f"{self.prefix}{secrets.token_hex(12)}", int(time.time())

    @property
    def model(self) -> str:
        """Who answers, by a name that does not move."""
        voice = self.wanted.voice
        return voice.name if voice.versions else base_id(self.loaded.base)

    @property
    def fingerprint(self) -> str:
        """Of the base, and of every adapter, by content."""
        parts = [
            self.loaded.base.record.fingerprint,
            *(version.digest for version in self.wanted.voice.versions),
        ]
        return "-".join(part[:12] for part in parts)

    def document(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self.id,
            "object": kind,
            "created": self.created,
            "model": self.model,
            "system_fingerprint": self.fingerprint,
            "choices": choices,
        }

    def chunk(self, choices: list[dict[str, Any]]) -> dict[str, Any]:
        """A document of a stream."""
        return self.document(self.kind, choices) | ({"usage": None} if self.wanted.usage else {})

    def closing(self, answers: Sequence[Answer]) -> Iterable[dict[str, Any]]:
        """How a stream ends, if it is to tell the usage."""
        if self.wanted.usage:
            yield self.document(self.kind, []) | {"usage": self.usage(answers)}

    def usage(self, answers: Sequence[Answer]) -> dict[str, Any]:
        """Tokens; a prompt counts once, however many answers it got."""
        prompt = sum(map(len, self.wanted.prompts))
        said = sum(answer.said for answer in answers)
        cached = sum(answer.cached for answer in answers[:: self.wanted.n])
        return {
            "prompt_tokens": prompt,
            "completion_tokens": said,
            "total_tokens": prompt + said,
            "prompt_tokens_details": {"cached_tokens": cached},
        }

    def chat_logprobs(self, tokens: Sequence[Chosen]) -> dict[str, Any] | None:
        if self.wanted.sampling.logprobs is None:
            return None
        content = [
            self._told(token.id, token.logprob)
            | {"top_logprobs": [self._told(id_, logprob) for id_, logprob in token.likely]}
            for token in tokens
        ]
        return {"content": content, "refusal": None}

    def text_logprobs(self, index: int, tokens: Sequence[Chosen]) -> dict[str, Any] | None:
        if self.wanted.sampling.logprobs is None:
            return None
        texts = [self.text_of(token.id) for token in tokens]
        offsets, at = [], self.lengths.get(index, 0)
        for text in texts:
            offsets.append(at)
            at += len(text)
        self.lengths[index] = at
        return {
            "tokens": texts,
            "token_logprobs": [_finite(token.logprob) for token in tokens],
            "top_logprobs": [{self.text_of(id_): _finite(p) for id_, p in token.likely} for token in tokens],
            "text_offset": offsets,
        }

    def text_of(self, id_: int) -> str:
        """A token by itself, with the space that decoders leave out in front of a text."""
        tokenizer = self.loaded.tokenizer
        text = str(tokenizer.decode([id_], skip_special_tokens=False))
        piece = tokenizer.convert_ids_to_tokens(id_)
        return f" {text}" if str(piece).startswith("\u2581") and not text.startswith(" ") else text

    def _told(self, id_: int, logprob: float | None) -> dict[str, Any]:
        text = self.text_of(id_)
        known: list[int] | None = list(text.encode())
        if REPLACEMENT in text:
            known = part_bytes(str(self.loaded.tokenizer.convert_ids_to_tokens(id_)))
        return {"token": text, "logprob": _finite(logprob), "bytes": known}


def _finite(logprob: float | None) -> float | None:
    """JSON has no word for what never comes; OpenAI's API says -9999."""
    return logprob if logprob is None or math.isfinite(logprob) else NEVER


def part_bytes(piece: str) -> list[int] | None:
    """The bytes of a token that is a part of a character: as byte-level vocabularies write them, or as <0xE2>."""
    if match := BYTE.fullmatch(piece):
        return [int(match[1], 16)]
    letters = _letters()
    return [letters[one] for one in piece] if all(one in letters for one in piece) else None


@cache
def _letters() -> dict[str, int]:
    """GPT-2's letters for bytes: printable ones stand for themselves, the rest from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + n): byte for n, byte in enumerate(rest)}
