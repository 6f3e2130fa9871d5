"""Who lies in which slot, whatever becomes of those who asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from lftreg import Registry
from lftreg.errors import CheckFailed
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.registry import WEIGHTS
from lftreg.serving.engine import Engine
from lftreg.serving.voices import find_voice

from .adapters import put


@pytest.fixture
def engine(registry: Registry, tiny_llama: Path) -> Iterator[Engine]:
    made = Engine(load_base(find_base(str(tiny_llama), registry)), registry, rows=2, slots=3)
    yield made
    made.close()


def test_what_could_not_be_loaded_lies_nowhere(engine: Engine) -> None:
    """Though whoever asked for it had left before, and is not there to give it back."""
    shelf = engine.shelf
    version = put(engine.registry, engine.loaded, "damaged", 1)
    voice = find_voice("damaged", engine.loaded.base, engine.registry)
    shelf.check(voice)
    file = engine.registry.file(version, WEIGHTS)
    whole = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    hold = threading.Event()
    shelf._loader.submit(hold.wait)
    lease = shelf.lend(voice)
    assert lease is not None
    shelf.give_back(lease)
    hold.set()
    shelf._loader.submit(int).result(60)
    assert isinstance(lease.error, CheckFailed)
    assert shelf.there == ()
    assert len(shelf._free) == 3
    file.write_bytes(whole)
    again = shelf.lend(voice)
    assert again is not None
    shelf._loader.submit(int).result(60)
    assert again.error is None and again.ready
    shelf.give_back(again)
