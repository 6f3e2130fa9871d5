"""Does every answer come from the adapter that was asked? Random requests, each compared with a model of its own.

The reference shares nothing with the engine but the numbers: it answers one request at a time, adds one adapter after
another to the output of each layer, keeps no cache, and reads all of a conversation anew for every token.
"""

from __future__ import annotations

import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from lftreg.errors import NotFound, Unavailable, UsageError
from lftreg.models.load import Loaded
from lftreg.models.tasks import SEQ2SEQ
from lftreg.registry import Registry, Version
from lftreg.serving.engine import Engine
from lftreg.serving.passes import same_weights
from lftreg.serving.sampling import Sampling, choose, dice_of
from lftreg.serving.shelf import Factors, read_factors
from lftreg.serving.tickets import Asked, Ended, Event, Failed, Said, Ticket
from lftreg.serving.voices import Voice

if TYPE_CHECKING:
    import torch

KEPT = 64  # adapters that are kept in memory
CallOff = Literal["never", "at once", "at its first word"]
TIE = 1e-3  # logits that are closer may change places by rounding


@dataclass(frozen=True, slots=True)
class Wrong:
    """An answer that another model would have given: who was asked, and the ids that came and that should have."""

    voice: str
    came: tuple[int, ...]
    expected: tuple[int, ...]


@dataclass(slots=True)
class Report:
    """What came of the requests. `ties` are answers that part where two words are as likely, up to rounding."""

    requests: int = 0
    answered: int = 0
    cancelled: int = 0
    ties: int = 0
    failed: int = 0
    wrong: list[Wrong] = field(default_factory=list)
    seconds: float = 0.0


class Reference:
    """One voice at a time, on a second tree of modules over the engine's weights."""

    def __init__(self, loaded: Loaded, registry: Registry) -> None:
        """`loaded` must not be hooked by an engine yet, or `same_weights` of it must have been taken before."""
        self.model, self.loaded, self.registry = loaded.model, loaded, registry
        self._kept: OrderedDict[str, Factors] = OrderedDict()

    def answer(
        self, voice: Voice, ids: Sequence[int], sampling: Sampling, stops: frozenset[int]
    ) -> list[int]:
        """What the voice says, token by token."""
        dice = dice_of(sampling, self.loaded.device)
        said: list[int] = []
        with self.speaking(voice):
            while len(said) < sampling.max_tokens:
                (token,) = choose(self._logits(ids, said)[None], [sampling], [dice])
                if token.id in stops and not sampling.ignore_eos:
                    break
                said.append(token.id)
        return said

    def gap(self, voice: Voice, ids: Sequence[int], said: Sequence[int]) -> float:
        """How far the likeliest word is ahead of the next one, in logits."""
        with self.speaking(voice):
            first, second = self._logits(ids, said).topk(2).values.tolist()
        return float(first - second)

    def logits(self, voice: Voice, ids: Sequence[int]) -> torch.Tensor:
        """The logits behind a prompt, (words,)."""
        with self.speaking(voice):
            return self._logits(ids, [])

    def _logits(self, ids: Sequence[int], said: Sequence[int]) -> torch.Tensor:
        import torch

        device = self.loaded.device
        with torch.inference_mode():
            if self.loaded.task is SEQ2SEQ:
                start = self.model.config.decoder_start_token_id
                given = torch.tensor([[start, *said]], device=device)
                out = self.model(torch.tensor([list(ids)], device=device), decoder_input_ids=given)
            else:
                out = self.model(torch.tensor([[*ids, *said]], device=device), use_cache=False)
        logits: torch.Tensor = out.logits[0, -1].float()
        return logits

    @contextmanager
    def speaking(self, voice: Voice) -> Iterator[None]:
        modules = dict(self.model.named_modules())
        hooks = [
            modules[path].register_forward_hook(_adding(weight, *factors))
            for version, weight in zip(voice.versions, voice.weights, strict=True)
            for path, factors in self._factors(version).items()
        ]
        try:
            yield
        finally:
            for hook in hooks:
                hook.remove()

    def _factors(self, version: Version) -> Factors:
        """A and scaled B of every layer that an adapter changes."""
        if version.digest not in self._kept:
            (whole,) = read_factors(version, self.registry, version.rank)
            self._kept[version.digest] = {
                path: (a.to(self.loaded.device, self.model.dtype), b.to(self.loaded.device, self.model.dtype))
                for path, (a, b) in whole.items()
            }
        self._kept.move_to_end(version.digest)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return self._kept[version.digest]


def selftest(
    engine: Engine,
    reference: Reference,
    versions: Sequence[Version],
    requests: int = 500,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Ask for single adapters, sums of two or three and the bare base, and call some requests off.

    Raises NotFound without an adapter to ask.
    """
    if not versions:
        raise NotFound("there is no adapter to test with", "train one: lftreg train customer_support")
    draw, report, began = random.Random(seed), Report(requests), time.monotonic()
    at_once = 4 * len(engine.places)
    for start in range(0, requests, at_once):
        count = min(at_once, requests - start)
        asked = [_Request(engine, _asked(draw, engine, versions), _when(draw)) for _ in range(count)]
        for request in asked:
            _judge(request, reference, engine, report)
            if progress is not None:
                progress(report.answered + report.cancelled + report.failed, requests)
    report.seconds = time.monotonic() - began
    return report


class _Request:
    """A request on its way, and what has come of it."""

    def __init__(self, engine: Engine, asked: Asked, call_off: CallOff) -> None:
        self.asked, self._call_off = asked, call_off
        self.ids: list[int] = []
        self.end: Event | None = None
        self.done = threading.Event()
        self.ticket: Ticket | None = None
        while self.ticket is None:
            try:
                self.ticket = engine.submit(asked, self._listen)
            except Unavailable:
                time.sleep(0.05)
        if call_off == "at once":
            self.ticket.cancel()

    def _listen(self, event: Event) -> None:
        if isinstance(event, Said):
            self.ids.append(event.token.id)
            if self._call_off == "at its first word" and self.ticket is not None:
                self.ticket.cancel()
        else:
            self.end = event
            self.done.set()


def _when(draw: random.Random) -> CallOff:
    return draw.choice(("at once", "at its first word")) if draw.random() < 0.06 else "never"


def _asked(draw: random.Random, engine: Engine, versions: Sequence[Version]) -> Asked:
    voice = _voice(draw, engine, versions)
    words = len(engine.loaded.tokenizer)
    # Prompts that begin alike, so that what one has read is there for another.
    kind_of_prompt = draw.randrange(3)
    opening = [(kind_of_prompt * 97 + n * 31) % words for n in range(20)]
    ids = opening + [draw.randrange(words) for _ in range(draw.randint(1, 12))]
    temperature = draw.choice((0.0, 0.0, 0.7))
    return Asked(
        voice, ids, Sampling(draw.randint(1, 4), temperature, seed=draw.randrange(1000), ignore_eos=True)
    )


def _voice(draw: random.Random, engine: Engine, versions: Sequence[Version]) -> Voice:
    """The base, an adapter or a sum; no more of them than there are slots for."""
    kind = draw.random()
    count = 0 if kind < 0.05 else min(len(versions), 1 if kind < 0.75 else draw.choice((2, 3)))
    while count:
        chosen = sorted(draw.sample(list(versions), count), key=lambda version: version.digest)
        weights = (1.0,) if count == 1 else tuple(round(draw.uniform(-0.5, 1.0), 2) or 0.5 for _ in chosen)
        voice = Voice("+".join(version.ref for version in chosen), tuple(chosen), weights)
        try:
            engine.shelf.check(voice)
        except UsageError:
            count -= 1
        else:
            return voice
    return Voice("base")


def _judge(request: _Request, reference: Reference, engine: Engine, report: Report) -> None:
    request.done.wait()
    if not isinstance(request.end, Ended):
        assert isinstance(request.end, Failed)
        report.failed += 1
        return
    asked, came = request.asked, request.ids
    expected = reference.answer(asked.voice, asked.ids, asked.sampling, engine.stops)
    if request.end.reason == "cancelled":
        report.cancelled += 1
        expected = expected[: len(came)]
    else:
        report.answered += 1
    if came == expected:
        return
    parted = next((n for n, (a, b) in enumerate(zip(came, expected, strict=False)) if a != b), 0)
    if not asked.sampling.temperature and reference.gap(asked.voice, asked.ids, expected[:parted]) < TIE:
        report.ties += 1
    else:
        report.wrong.append(Wrong(asked.voice.asked, tuple(came), tuple(expected)))


def reference_of(loaded: Loaded, registry: Registry) -> Reference:
    """A reference beside the engine that is going to use this base; take it before the engine is made."""
    return Reference(Loaded(loaded.base, same_weights(loaded.model), loaded.tokenizer, loaded.task), registry)


def _adding(weight: float, a: torch.Tensor, b: torch.Tensor) -> Any:
    def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor:
        return output + weight * (inputs[0] @ a.T @ b.T)

    return add
