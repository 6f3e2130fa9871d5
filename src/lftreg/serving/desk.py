"""What the whole server shares: the base and its engine once they are there, who may come in, and the numbers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass

from lftreg.errors import Incompatible, LftregError, NotFound
from lftreg.models.base import FoundBase
from lftreg.models.generate import BASE_PREFIX
from lftreg.models.load import Loaded, load_base
from lftreg.models.tasks import MASKED, SEQ2SEQ, natural_task
from lftreg.registry import Key, Registry
from lftreg.serving import catalog
from lftreg.serving.access import Access, Limits, check_asked
from lftreg.serving.engine import Engine
from lftreg.serving.errors import Refused, refusal
from lftreg.serving.metrics import Metrics
from lftreg.serving.voices import MARK, Voice, base_name, find_voice


@dataclass(frozen=True, slots=True)
class Options:
    """How a server is run. `timeout` and `drain` are seconds, limits are for each adapter."""

    rows: int = 16
    slots: int = 32
    rank: int = 16
    longest: int | None = None
    queue: int = 256
    timeout: float = 300.0
    drain: float = 30.0
    dtype: str = "auto"
    quantize: str | None = None
    origins: tuple[str, ...] = ()
    per_minute: int | None = None
    concurrent: int | None = None

    def engine(self, loaded: Loaded, registry: Registry) -> Engine:
        """An engine as it is wanted here."""
        return Engine(
            loaded,
            registry,
            rows=self.rows,
            slots=self.slots,
            rank=self.rank,
            longest=self.longest,
            queue=self.queue,
        )


@dataclass(frozen=True, slots=True)
class Asking:
    """One request on its way to the engine: what it is read with, and for whom."""

    loaded: Loaded
    longest: int
    registry: Registry
    key: Key

    def voice(self, asked: str, param: str = "model") -> Voice:
        """Who is meant by a name. Raises Refused; a key for some adapters hears nothing of the others."""
        base, asked = self.loaded.base, asked.removeprefix(MARK)
        check_asked(self.key, asked, base)
        try:
            if asked.startswith(BASE_PREFIX) and asked[len(BASE_PREFIX) :] not in (
                base.record.id,
                base_name(base),
            ):
                raise NotFound(
                    f"the base {asked.removeprefix(BASE_PREFIX)[:80]!r} is not served here",
                    f"{catalog.base_id(base)} is",
                    code="unknown-adapter",
                )
            return find_voice(asked, base, self.registry)
        except LftregError as error:
            if self.key.adapters:
                error.message = error.message.partition(" Did you mean")[0]
            if isinstance(error, NotFound) and "`lftreg list" in (error.hint or ""):
                error.hint = "GET /v1/models lists what there is"  # who asks over HTTP has no command line
            raise refusal(error, param) from error


class Desk:
    """The state of a server. `engine` is None while the base is being loaded."""

    def __init__(self, base: FoundBase, registry: Registry, options: Options, *, local: bool) -> None:
        """Raises Incompatible for a base that writes no text."""
        if natural_task(base.config) is MASKED:
            raise Incompatible(
                f"{base_name(base)!r} is a {MASKED.words}, which writes no text",
                "`lftreg generate` asks its adapters",
                code="not-served",
            )
        self.base, self.registry, self.options = base, registry, options
        self.access = Access(registry, local=local, origins=options.origins)
        self.limits = Limits(options.per_minute, options.concurrent)
        self.metrics = Metrics()
        self.loaded: Loaded | None = None
        self.engine: Engine | None = None
        self.draining = False
        self.in_flight = 0  # requests of any kind
        self.answering = 0  # those of them that draining waits for
        self._closing = threading.Lock()

    def load(self) -> None:
        """Read the base and start its engine. May take long, and raises what `load_base` raises."""
        options = self.options
        loaded = load_base(self.base, options.dtype, quantize=options.quantize)
        if loaded.task is not SEQ2SEQ:
            _ = loaded.chat  # raises where nothing could ever end
        loaded.tokenizer("a")  # the first text changes its settings: not while another thread reads, too
        self.loaded = loaded
        engine = options.engine(loaded, self.registry)
        self.metrics.watch(engine)
        self.engine = engine

    def ready(self) -> Engine:
        """The engine. Raises Refused (503) while there is none."""
        if self.engine is None:
            raise Refused(503, "the base is being loaded", "loading", retry=5)
        return self.engine

    def check_open(self) -> Engine:
        """The engine, for one request more. Raises Refused (503) while loading and draining."""
        engine = self.ready()
        if self.draining:
            raise Refused(503, "the server is stopping", "stopping", retry=5, headers={"Connection": "close"})
        return engine

    def asking(self, key: Key) -> Asking:
        engine = self.ready()
        return Asking(engine.loaded, engine.longest, self.registry, key)

    def there(self) -> frozenset[str]:
        """Digests of the adapters in memory."""
        return frozenset(self.engine.shelf.there) if self.engine is not None else frozenset()

    def arrive(self) -> Callable[[], None]:
        """Count a request; what comes back is to be called when it has been answered."""
        self.in_flight += 1

        def leave() -> None:
            self.in_flight -= 1

        return leave

    def take_in(self) -> Callable[[], None]:
        """The same for one that is to be answered before the server may end."""
        self.answering += 1

        def leave() -> None:
            self.answering -= 1

        return leave

    @property
    def state(self) -> str:
        """`ready`, or why it is not."""
        if self.engine is None:
            return "loading"
        if not self.engine.alive:
            return "failed"
        return "draining" if self.draining else "ready"

    def close(self) -> None:
        """Stop the engine after the step that is running. Whatever has not ended fails."""
        with self._closing:
            if self.engine is not None:
                self.engine.close()
