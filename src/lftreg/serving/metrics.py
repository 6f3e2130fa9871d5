"""What Prometheus reads of a server, by adapter: never more than MOST_LABELS of them, the rest is `other`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from lftreg.serving.voices import Voice

if TYPE_CHECKING:
    from lftreg.serving.engine import Engine

disable_created_metrics()  # type: ignore[no-untyped-call]  # as many series again, of which nobody asks

MOST_LABELS = 200
FIRST = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
BETWEEN = (0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)
NOBODY = "none"  # of a request that was refused before it was known whom it asks


class Metrics:
    """The numbers of one server. Called on the event loop only."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._labels: set[str] = set()
        on = self.registry
        self.requests = Counter(
            "lftreg_requests", "Requests by adapter and HTTP status.", ("adapter", "status"), registry=on
        )
        self.read = Counter("lftreg_prompt_tokens", "Tokens of prompts.", ("adapter",), registry=on)
        self.said = Counter("lftreg_generated_tokens", "Tokens of answers.", ("adapter",), registry=on)
        self.first = Histogram(
            "lftreg_time_to_first_token_seconds",
            "From a request's arrival to its first token.",
            ("adapter",),
            buckets=FIRST,
            registry=on,
        )
        self.between = Histogram(
            "lftreg_time_between_tokens_seconds",
            "From one token of an answer to the next.",
            ("adapter",),
            buckets=BETWEEN,
            registry=on,
        )

    def watch(self, engine: Engine) -> None:
        """Tell of an engine's state whenever it is asked for."""
        self.registry.register(State(engine))

    def label(self, voice: Voice) -> str:
        """The adapter of a voice as a label: name@N, `base`, `sum`, or `other` where there are too many."""
        if not voice.versions:
            return "base"
        if not voice.plain:
            return "sum"
        ref = voice.versions[0].ref
        if ref not in self._labels:
            if len(self._labels) >= MOST_LABELS:
                return "other"
            self._labels.add(ref)
        return ref

    def count(self, adapter: str, status: int) -> None:
        self.requests.labels(adapter, str(status)).inc()

    def page(self) -> bytes:
        return generate_latest(self.registry)


class Timing:
    """The times of one request's tokens."""

    def __init__(self, metrics: Metrics, adapter: str) -> None:
        self._first, self._between = metrics.first.labels(adapter), metrics.between.labels(adapter)
        self._said = metrics.said.labels(adapter)
        self._since = time.monotonic()
        self._last: dict[int, float] = {}

    def said(self, index: int, at: float) -> None:
        """Answer `index` has a token more."""
        last = self._last.get(index)
        if last is None:
            self._first.observe(max(0.0, at - self._since))
        else:
            self._between.observe(at - last)
        self._last[index] = at
        self._said.inc()


class State(Collector):
    """What an engine is doing now."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def collect(self) -> Iterator[Metric]:
        engine = self._engine
        for name, text, value in (
            ("lftreg_queue_depth", "Requests that wait for a row.", engine.waiting),
            ("lftreg_active_rows", "Rows that are being answered.", engine.active),
            ("lftreg_loaded_adapters", "Adapters in memory.", len(engine.shelf.there)),
        ):
            yield GaugeMetricFamily(name, text, value=value)
        for name, text, value in (
            ("lftreg_adapter_loads", "Adapters that were brought into memory.", engine.shelf.loads),
            ("lftreg_adapter_evictions", "Adapters that had to leave it.", engine.shelf.evictions),
            ("lftreg_steps", "Steps of the engine.", engine.steps),
        ):
            yield CounterMetricFamily(name, text, value=value)
