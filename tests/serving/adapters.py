"""Adapters that answer each in a way of its own, without training, and an engine to ask them."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from lftreg import Registry, Version
from lftreg.models.layers import seats_of
from lftreg.models.load import Loaded
from lftreg.plugins.types import Message
from lftreg.registry import Draft
from lftreg.serving.engine import Engine
from lftreg.serving.sampling import Sampling
from lftreg.serving.tickets import Asked, Ended, Event, Failed, Said, Ticket
from lftreg.serving.voices import find_voice

ATTENTION = ("q_proj", "v_proj")


def put(
    registry: Registry,
    loaded: Loaded,
    name: str,
    seed: int,
    rank: int = 8,
    targets: Sequence[str] | None = None,
    folder: Path | None = None,
    scale: float = 0.6,
    **config: Any,
) -> Version:
    """Register random factors, large enough to change what is said."""
    from safetensors.numpy import save_file

    draw, tensors = numpy.random.default_rng(seed), {}
    names = set()
    for path, seat in seats_of(loaded.model).items():
        last = path.rsplit(".", 1)[-1]
        if last == "lm_head" or (targets is not None and last not in targets):
            continue
        names.add(last)
        a = draw.normal(size=(rank, seat.inputs), scale=seat.inputs**-0.5)
        b = draw.normal(size=(seat.outputs, rank), scale=scale * seat.inputs**-0.5)
        tensors[f"base_model.model.{path}.lora_A.weight"] = a.astype("f4")
        tensors[f"base_model.model.{path}.lora_B.weight"] = b.astype("f4")
    file = (folder or Path(registry.home.root)) / f"{name}-{seed}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    told = {"peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": sorted(names), **config}
    return registry.publish(Draft(name, "imported", loaded.base.record, file, told))


class Heard:
    """Everything that an engine said to one request."""

    def __init__(self) -> None:
        self.ticket: Ticket
        self.events: list[Event] = []
        self.done = threading.Event()
        self.begun = threading.Event()
        self.at = 0.0  # when it was told of the last one

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self.begun.set()
        self.at = time.monotonic()
        if not isinstance(event, Said):
            self.done.set()

    @property
    def end(self) -> Event:
        assert self.done.wait(120), self.events
        return self.events[-1]

    @property
    def ended(self) -> Ended:
        assert isinstance(self.end, Ended), self.end
        return self.end

    @property
    def failed(self) -> Failed:
        assert isinstance(self.end, Failed), self.end
        return self.end

    @property
    def ids(self) -> list[int]:
        assert self.end
        return [event.token.id for event in self.events if isinstance(event, Said)]

    @property
    def text(self) -> str:
        assert self.end
        return "".join(event.text for event in self.events if isinstance(event, Said | Ended))


def prompt(engine: Engine, text: str) -> list[int]:
    return engine.loaded.chat.prompt_ids([Message("user", text)])


def ask(engine: Engine, model: str, ids: Sequence[int], **sampling: Any) -> Heard:
    heard = Heard()
    voice = find_voice(model, engine.loaded.base, engine.registry)
    heard.ticket = engine.submit(Asked(voice, ids, Sampling(**sampling)), heard)
    return heard
