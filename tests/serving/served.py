"""A whole server in a thread of this process, over a small random base and adapters that each say their own."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import numpy
from openai import OpenAI
from safetensors.numpy import save_file

from lftreg.models.base import find_base
from lftreg.paths import Home
from lftreg.registry import Draft, Registry, Version
from lftreg.serving.desk import Desk, Options
from lftreg.serving.server import Front, listen
from lftreg.tensors import read_header

LONG = 4096  # positions: an answer of so many tokens takes seconds


@dataclass(frozen=True)
class Served:
    """Where it is, and what is behind it."""

    url: str
    port: int
    front: Front
    desk: Desk
    registry: Registry
    web: httpx2.Client

    def post(self, path: str, body: Any, **more: Any) -> httpx2.Response:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.web.post(path, content=content, **more)

    def get(self, path: str, **more: Any) -> httpx2.Response:
        return self.web.get(path, **more)

    def client(self, key: str = "any") -> OpenAI:
        return OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, http_client=self.web)

    def raw(self, text: str | bytes, *, half: bool = False) -> bytes:
        """What comes back on a bare connection."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as wire:
            wire.sendall(text.encode() if isinstance(text, str) else text)
            if half:
                return b""
            wire.shutdown(socket.SHUT_WR) if b"connection: close" not in _lower(text) else None
            return b"".join(iter(lambda: wire.recv(65536), b""))

    def settle(self) -> None:
        """Nothing of any request is left: no row, no place in the queue, no lease, no count."""
        engine = self.desk.ready()
        until(lambda: engine.active == engine.waiting == self.desk.in_flight == 0)


def _lower(text: str | bytes) -> bytes:
    return (text.encode() if isinstance(text, str) else text).lower()


def until(true: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that happens on another thread."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def publish(registry: Registry, base: Path, name: str, seed: int, scale: float = 2, **config: Any) -> Version:
    """Random factors on the query and value projections, large enough to change what is said."""
    draw, tensors = numpy.random.default_rng(seed), {}
    found = find_base(str(base), registry)
    for key, info in read_header(base / "model.safetensors").tensors.items():
        if key.endswith(("q_proj.weight", "v_proj.weight")):
            outputs, inputs = info.shape
            stem = f"base_model.model.{key.removesuffix('.weight')}"
            a = draw.normal(size=(4, inputs), scale=inputs**-0.5)
            b = draw.normal(size=(outputs, 4), scale=scale * inputs**-0.5)
            tensors |= {f"{stem}.lora_A.weight": a.astype("f4"), f"{stem}.lora_B.weight": b.astype("f4")}
    file = registry.home.root / f"{name}.safetensors"
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, file)
    told = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"], **config}
    return registry.publish(Draft(name, "trained", found.record, file, told, domain=name))


@contextmanager
def serving(home: Path, base: Path, *, local: bool = True, **options: Any) -> Iterator[Served]:
    """Serve a base at a free port until the end of the block."""
    before = set(threading.enumerate())
    registry = Registry(Home(home))
    given = {"rows": 4, "slots": 8, "rank": 4, "queue": 8} | options
    desk = Desk(find_base(str(base), registry), registry, Options(**given), local=local)
    listening = listen("127.0.0.1", 0)
    ready = threading.Event()
    front = Front(desk, listening, ready.set)
    thread = threading.Thread(target=front.run, args=([listening.socket],), daemon=True)
    thread.start()
    try:
        while not ready.wait(0.05):
            assert front.failure is None, front.failure
        with httpx2.Client(base_url=listening.url, timeout=60) as web:
            yield Served(listening.url, listening.port, front, desk, registry, web)
    finally:
        front.should_exit = front.force_exit = True
        thread.join(30)
        desk.close()
        registry.close()
    assert not thread.is_alive()
    left = [one.name for one in threading.enumerate() if one not in before and one.name.startswith("lftreg-")]
    assert not left
