"""Answers from a base with any of its adapters."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import Incompatible, InvalidData, UsageError
from lftreg.models.attach import AdapterModel
from lftreg.models.base import FoundBase, find_base, same_base
from lftreg.models.load import load_base
from lftreg.plugins.types import Message
from lftreg.registry import Registry, Version
from lftreg.registry.records import WEIGHTS

if TYPE_CHECKING:
    import torch

BASE_PREFIX = "base:"
BATCH = 16  # prompts that share a forward pass; answers do not depend on it


@dataclass(frozen=True, slots=True)
class Decoding:
    """How the next token is chosen. A temperature of 0 takes the likeliest one."""

    max_tokens: int = 128
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"--max-tokens {self.max_tokens} leaves nothing to say", "give 1 or more")
        if not 0.0 <= self.temperature <= 100.0:
            raise UsageError(f"--temperature {self.temperature} makes no sense", "0 (greedy) to about 1.5")
        if not 0.0 < self.top_p <= 1.0:
            raise UsageError(f"--top-p {self.top_p} makes no sense", "more than 0, at most 1")


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer: the prompt, the text without special tokens, the number of tokens made."""

    prompt: str
    text: str
    tokens: int


class Speaker:
    """One base in memory and the adapters that speak through it, by REF.

    `base:starter` (or `base:` and any base) speaks as the bare base. Raises Incompatible for
    adapters of different bases.
    """

    def __init__(self, refs: Sequence[str], registry: Registry | None = None, dtype: str = "auto") -> None:
        self.registry = registry or Registry()
        self.refs = tuple(refs)
        versions = {ref: self._version(ref) for ref in refs}
        self._model = AdapterModel(load_base(self._common_base(versions), dtype))
        self._names = {ref: _attached_name(version) for ref, version in versions.items()}
        for version in versions.values():
            if version is not None:
                self._attach(version)

    def answer(self, ref: str, prompts: Sequence[str], decoding: Decoding | None = None) -> list[Generation]:
        """Answers to single questions, in their order."""
        decoding = decoding or Decoding()
        chat = self._model.loaded.chat
        rows = [chat.prompt_ids([Message("user", prompt)]) for prompt in prompts]
        with self._model.using(self._names[ref]) as model:
            made = [
                ids for batch in _batches(rows, decoding) for ids in self._generate(model, *batch, decoding)
            ]
        return [
            Generation(prompt, chat.decode(ids), len(ids)) for prompt, ids in zip(prompts, made, strict=True)
        ]

    def reply(
        self, ref: str, messages: Sequence[Message], decoding: Decoding, on_text: Callable[[str], None]
    ) -> Generation:
        """The next turn of a conversation; `on_text` gets the words as they come."""
        chat = self._model.loaded.chat
        ids = chat.prompt_ids(messages)
        with self._model.using(self._names[ref]) as model:
            streamer = _streamer(chat.tokenizer, on_text)
            (made,) = self._generate(model, [ids], 0, decoding, streamer)
        return Generation(messages[-1].content, chat.decode(made), len(made))

    def _version(self, ref: str) -> Version | None:
        return None if ref.startswith(BASE_PREFIX) else self.registry.get(ref)

    def _common_base(self, versions: dict[str, Version | None]) -> FoundBase:
        if not versions:
            raise UsageError("nothing to speak with", "name an adapter, or base:starter")
        found = {
            ref: find_base(ref.removeprefix(BASE_PREFIX), self.registry)
            if version is None
            else same_base(version.base, self.registry)
            for ref, version in versions.items()
        }
        first_ref, first = next(iter(found.items()))
        for ref, other in found.items():
            if other.record.fingerprint != first.record.fingerprint:
                raise Incompatible(
                    f"{first_ref} and {ref} have different bases ({first.record.id}, {other.record.id})",
                    "ask them one after the other",
                    code="different-bases",
                )
        return first

    def _attach(self, version: Version) -> None:
        self._model.attach(
            version.digest, self.registry.config(version), self.registry.file(version, WEIGHTS)
        )

    def _generate(
        self, model: Any, rows: list[list[int]], first: int, decoding: Decoding, streamer: Any = None
    ) -> list[list[int]]:
        """Continue rows of ids; `first` is the index of the first row, which seeds its sampling."""
        import torch

        chat = self._model.loaded.chat
        ids, mask = _left_padded(rows, chat.pad_id, self._model.loaded.device)
        self._check_room(ids.shape[1], decoding.max_tokens)
        sampling: dict[str, Any] = {"do_sample": False, "temperature": None, "top_p": None, "top_k": None}
        if decoding.temperature > 0:
            torch.manual_seed(decoding.seed + first)
            sampling = {
                "do_sample": True,
                "temperature": decoding.temperature,
                "top_p": decoding.top_p,
                "top_k": 0,
            }
        with torch.inference_mode():
            made = model.generate(
                input_ids=ids,
                attention_mask=mask,
                max_new_tokens=decoding.max_tokens,
                pad_token_id=chat.pad_id,
                eos_token_id=sorted(chat.stop_ids),
                streamer=streamer,
                **sampling,
            )
        return [_until_stop(row, chat.stop_ids) for row in made[:, ids.shape[1] :].tolist()]

    def _check_room(self, prompt: int, answer: int) -> None:
        limit = getattr(self._model.loaded.model.config, "max_position_embeddings", None)
        if limit is not None and prompt + answer > limit:
            raise InvalidData(
                f"{prompt} tokens of prompt and {answer} of answer do not fit the base's {limit}",
                f"shorten the prompt, or --max-tokens {max(1, limit - prompt)}",
                code="too-long",
            )


def generate(
    ref: str,
    prompts: Sequence[str] | str,
    *,
    registry: Registry | None = None,
    max_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[Generation]:
    """Answers of one adapter, or of a bare base (`base:starter`), to one or several prompts."""
    asked = [prompts] if isinstance(prompts, str) else list(prompts)
    speaker = Speaker([ref], registry)
    return speaker.answer(ref, asked, Decoding(max_tokens, temperature, top_p, seed))


def _attached_name(version: Version | None) -> str | None:
    """Equal content is attached once, whatever names it has."""
    return None if version is None else version.digest


def _batches(rows: list[list[int]], decoding: Decoding) -> Iterator[tuple[list[list[int]], int]]:
    """Rows that go together. Sampled ones go alone, so that a seed says the same in any company."""
    size = 1 if decoding.temperature > 0 else BATCH
    for first in range(0, len(rows), size):
        yield rows[first : first + size], first


def _left_padded(rows: list[list[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask, (rows, longest), answers starting at one column."""
    import torch

    longest = max(len(row) for row in rows)
    ids = torch.tensor([[pad] * (longest - len(row)) + row for row in rows], device=device)
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids, mask


def _until_stop(ids: list[int], stop: frozenset[int]) -> list[int]:
    end = next((at for at, id_ in enumerate(ids) if id_ in stop), len(ids))
    return ids[:end]


def _streamer(tokenizer: Any, on_text: Callable[[str], None]) -> Any:
    from transformers import TextStreamer

    class Streamer(TextStreamer):  # type: ignore[misc]
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            on_text(text)

    return Streamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
