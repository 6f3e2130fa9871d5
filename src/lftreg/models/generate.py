"""Answers from a base with any of its adapters."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lftreg.errors import Incompatible, UsageError, unknown
from lftreg.models.answers import Generation, answer, has_room, prompt_rows
from lftreg.models.attach import AdapterModel
from lftreg.models.base import FoundBase, find_base, same_base
from lftreg.models.batching import Decoding, Done
from lftreg.models.load import Loaded, load_base
from lftreg.models.shapes import shapes_of
from lftreg.models.tasks import CAUSAL, CLASSIFY, LABELS, MASKED, Task, natural_task, task_of
from lftreg.plugins.types import Message
from lftreg.registry import Registry, parse_ref
from lftreg.registry.content import digest_of
from lftreg.tensors import admit, read_header

__all__ = ["BASE_PREFIX", "Decoding", "Generation", "Speaker", "generate"]

BASE_PREFIX = "base:"


@dataclass(frozen=True, slots=True)
class _Adapter:
    """An adapter's files, known by their content."""

    digest: str
    config: Mapping[str, Any]
    weights: Path


@dataclass(frozen=True, slots=True)
class _Voice:
    """Whoever speaks under a name: an adapter, or none for the bare base, and what it can do."""

    ref: str
    base: FoundBase
    task: Task
    adapter: _Adapter | None = None
    labels: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """Equal content is attached once, whatever names it has."""
        return None if self.adapter is None else self.adapter.digest


class Speaker:
    """One base in memory and the adapters that speak through it, by REF.

    `base:starter` (or `base:` and any base) speaks as the bare base. `quantize` keeps the base in
    nf4 or int8; `trust_code` lets it run Python of its own. Raises Incompatible for adapters of
    different bases, or of different tasks.
    """

    def __init__(
        self,
        refs: Sequence[str],
        registry: Registry | None = None,
        dtype: str = "auto",
        *,
        quantize: str | None = None,
        trust_code: bool = False,
    ) -> None:
        self.registry = registry or Registry()
        voices = [self._voice(ref, trust_code) for ref in refs]
        first = _together(voices)
        loaded = load_base(first.base, dtype, task=first.task, labels=first.labels, quantize=quantize)
        self._model = AdapterModel(loaded)
        self._voices: dict[str, _Voice] = {}
        for voice in voices:
            self._admit(voice.ref, voice)

    @property
    def base(self) -> FoundBase:
        """The base that all of them share."""
        return self._model.loaded.base

    def digest(self, ref: str) -> str:
        """The digest of the adapter that speaks under a name; of the bare base its fingerprint."""
        return self._voices[self.known(ref)].name or self.base.record.fingerprint

    @property
    def refs(self) -> tuple[str, ...]:
        """The names that may be asked."""
        return tuple(self._voices)

    def add(self, name: str, source: str | Path) -> None:
        """Let one more adapter speak, under a name of the caller's: a REF, or a folder that PEFT wrote.

        A folder passes the gate for strangers' adapters first. A name that was taken is given anew.
        """
        first = next(iter(self._voices.values()))
        if isinstance(source, Path) or parse_ref(source).path is not None:
            with tempfile.TemporaryDirectory(prefix="lftreg-") as scratch:
                voice = _from_folder(name, Path(source), first.base, Path(scratch))
                _together([first, voice])
                self._admit(name, voice)
            return
        voice = self._voice(source, first.base.code)
        _together([first, voice])
        self._admit(name, voice)

    def known(self, name: str) -> str:
        """The name itself. Raises NotFound, with the nearest one, for a name that nobody speaks under."""
        if name not in self._voices:
            raise unknown("voice", name, self._voices, f"here are {', '.join(self._voices)}")
        return name

    def _admit(self, name: str, voice: _Voice) -> None:
        if voice.adapter is not None:
            self._model.attach(voice.adapter.digest, voice.adapter.config, voice.adapter.weights)
        self._voices[name] = voice

    @property
    def loaded(self) -> Loaded:
        """The base in memory that all speak through."""
        return self._model.loaded

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of classifiers, which all who speak here share."""
        return next(iter(self._voices.values())).labels

    @contextmanager
    def using(self, ref: str | None) -> Iterator[Any]:
        """The model as `ref` speaks through it, or as the bare base where it is None; other threads wait."""
        with self._model.using(None if ref is None else self._voices[self.known(ref)].name) as model:
            yield model

    def answer(
        self,
        ref: str,
        prompts: Sequence[str],
        decoding: Decoding | None = None,
        *,
        on_done: Done | None = None,
    ) -> list[Generation]:
        """Answers to single questions, in their order. `on_done` is told how many there are, and of how many."""
        asked = [[Message("user", prompt)] for prompt in prompts]
        with self.using(ref) as model:
            return answer(model, self.loaded, asked, decoding or Decoding(), self.labels, on_done=on_done)

    def answer_turns(
        self,
        ref: str,
        conversations: Sequence[Sequence[Message]],
        decoding: Decoding,
        *,
        tools: Sequence[str] = (),
        on_done: Done | None = None,
    ) -> list[Generation | None]:
        """The next turn of each conversation, in their order; None for one that leaves no room to answer.

        `tools` are the functions that each may call, as `Example.tools` holds them.
        """
        rows = prompt_rows(self.loaded, conversations, tools)
        more = 0 if self.loaded.task in (CLASSIFY, MASKED) else decoding.max_tokens
        fit = [place for place, row in enumerate(rows) if has_room(self.loaded, len(row), more)]
        with self.using(ref) as model:
            made = answer(
                model,
                self.loaded,
                [conversations[place] for place in fit],
                decoding,
                self.labels,
                tools=[tools[place] for place in fit] if tools else (),
                on_done=on_done,
            )
        answers: dict[int, Generation] = dict(zip(fit, made, strict=True))
        return [answers.get(place) for place in range(len(rows))]

    def tokens(self, messages: Sequence[Message]) -> int:
        """How many tokens a conversation has, up to where its next turn begins."""
        return len(prompt_rows(self.loaded, [messages])[0])

    @property
    def positions(self) -> int | None:
        """The tokens that a prompt and its answer may have together; None where the base sets no end."""
        limit = getattr(self.loaded.model.config, "max_position_embeddings", None)
        return None if limit is None or self.loaded.task is not CAUSAL else int(limit)

    def reply(
        self, ref: str, messages: Sequence[Message], decoding: Decoding, on_text: Callable[[str], None]
    ) -> Generation:
        """The next turn of a conversation; `on_text` gets the words as they come.

        Raises UsageError for an adapter that does not converse.
        """
        voice = self._voices[self.known(ref)]
        if voice.task in (CLASSIFY, MASKED):
            raise UsageError(
                f"{ref} is a {voice.task.words}, which holds no conversations", f'lftreg generate {ref} "..."'
            )
        with self.using(ref) as model:
            (made,) = answer(model, self.loaded, [messages], decoding, on_text=on_text)
        return made

    def _voice(self, ref: str, trust_code: bool) -> _Voice:
        if ref.startswith(BASE_PREFIX):
            base = find_base(ref.removeprefix(BASE_PREFIX), self.registry, trust_code=trust_code)
            return _Voice(ref, base, natural_task(base.config))
        version = self.registry.get(ref)
        base = same_base(version.base, self.registry, trust_code=trust_code)
        adapter = _Adapter(version.digest, self.registry.config(version), self.registry.weights(version))
        return _with_task(ref, base, adapter)


def _from_folder(name: str, folder: Path, base: FoundBase, scratch: Path) -> _Voice:
    checked = admit(folder, scratch, shapes_of(base))
    digest = digest_of(checked.sha256, checked.config)
    return _with_task(name, base, _Adapter(digest, checked.config, checked.weights))


def _with_task(ref: str, base: FoundBase, adapter: _Adapter) -> _Voice:
    task = task_of(base.config, adapter.config)
    return _Voice(ref, base, task, adapter, _labels(adapter) if task is CLASSIFY else ())


def _labels(adapter: _Adapter) -> tuple[str, ...]:
    """A classifier's labels, in the order of its logits; numbers where its file names none."""
    header = read_header(adapter.weights)
    if LABELS in header.metadata:
        return tuple(json.loads(header.metadata[LABELS]))
    heads = [info.shape[0] for key, info in header.tensors.items() if ".lora_" not in key]
    return tuple(str(number) for number in range(min(heads)))


def generate(
    ref: str,
    prompts: Sequence[str] | str,
    *,
    registry: Registry | None = None,
    max_tokens: int = 128,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    quantize: str | None = None,
) -> list[Generation]:
    """Answers of one adapter, or of a bare base (`base:starter`), to one or several prompts."""
    asked = [prompts] if isinstance(prompts, str) else list(prompts)
    speaker = Speaker([ref], registry, quantize=quantize)
    return speaker.answer(ref, asked, Decoding(max_tokens, temperature, top_p, seed))


def _together(voices: Sequence[_Voice]) -> _Voice:
    """The first of some voices, once it is known that all can speak through one model."""
    if not voices:
        raise UsageError("nothing to speak with", "name an adapter, or base:starter")
    first = voices[0]
    for other in voices:
        if other.base.record.fingerprint != first.base.record.fingerprint:
            named = next(
                (one for one in voices if one.adapter and one.base.record == first.base.record), first
            )
            raise Incompatible(
                f"{named.ref} and {other.ref} have different bases "
                f"({first.base.record.id}, {other.base.record.id})",
                "ask them one after the other",
                code="different-bases",
            )
        if (other.task, other.labels) != (first.task, first.labels):
            raise Incompatible(
                f"{first.ref} is a {first.task.words} and {other.ref} a {other.task.words} of other answers",
                "ask them one after the other",
                code="different-tasks",
            )
    return first
