"""Random requests, each compared with a model of its own; and faults that must not go unseen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from lftreg import Registry, Version
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.serving import engine as engine_room
from lftreg.serving.engine import Engine
from lftreg.serving.pool import Pool
from lftreg.serving.selftest import Reference, reference_of, selftest

from .adapters import ATTENTION, put

pytestmark = pytest.mark.slow

REQUESTS = int(os.environ.get("LFTREG_REQUESTS", "500"))  # `make soak` asks 10,000


@contextmanager
def shop(registry: Registry) -> Iterator[tuple[Engine, Reference, list[Version]]]:
    loaded = load_base(find_base("starter", registry))
    versions = [
        put(registry, loaded, f"a{n}", n, rank=(4, 8, 16, 24)[n % 4], targets=ATTENTION if n % 3 else None)
        for n in range(20)
    ]
    reference = reference_of(loaded, registry)
    engine = Engine(loaded, registry, rows=8, slots=10)
    try:
        yield engine, reference, versions
    finally:
        engine.close()


def test_no_answer_comes_from_another_adapter(registry: Registry) -> None:
    with shop(registry) as (engine, reference, versions):
        report = selftest(engine, reference, versions, REQUESTS)
        assert report.wrong == []
        assert report.failed == 0
        assert report.answered + report.cancelled == REQUESTS
        assert report.ties <= REQUESTS / 100
        assert report.cancelled > 0
        assert engine.shelf.evictions > REQUESTS / 10
        assert engine.active == engine.waiting == 0


def test_swapped_slots_are_caught(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Pool.fill

    def swapped(self: Pool, slot: int, factors: Any) -> None:
        fill(self, slot ^ 1, factors)

    monkeypatch.setattr(Pool, "fill", swapped)
    with shop(registry) as (engine, reference, versions):
        assert len(selftest(engine, reference, versions, 60).wrong) > 10


def test_keys_without_their_adapter_are_caught(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one adapter has read must serve no other, however alike the prompts begin."""
    common = engine_room.common

    def unsalted(place: Any, row: Any) -> int:
        kept, place.key = place.key, row.key
        try:
            return common(place, row)
        finally:
            place.key = kept

    monkeypatch.setattr(engine_room, "common", unsalted)
    with shop(registry) as (engine, reference, versions):
        assert len(selftest(engine, reference, versions, 60).wrong) > 10


def test_weights_that_are_left_out_are_caught(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    arrange = Pool.arrange

    def unweighted(self: Pool, rows: Any) -> Any:
        return arrange(self, [tuple((slot, 1.0) for slot, _ in row) for row in rows])

    monkeypatch.setattr(Pool, "arrange", unweighted)
    with shop(registry) as (engine, reference, versions):
        assert selftest(engine, reference, versions, 60).wrong
