"""The parents of a plan, open to be read layer by layer, and the threads that do it."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from lftreg.composer.layers import Pair, Part, Stack, all_finite
from lftreg.composer.listening import Check
from lftreg.composer.parents import Parent, Slot
from lftreg.composer.plan import Plan
from lftreg.composer.report import Totals
from lftreg.errors import InvalidData, LftregError
from lftreg.registry import Blob
from lftreg.registry.content import digest_of
from lftreg.registry.staging import Stream
from lftreg.tensors import Source

MOST_OPEN = 200  # files at once


@dataclass(frozen=True, slots=True)
class Made:
    """What an engine gives back: the weights it staged, their PEFT configuration, and what was measured."""

    weights: Blob
    config: Mapping[str, Any]
    totals: Totals


def distinct(plan: Plan) -> Iterable[Parent]:
    return {parent.version.digest: parent for parent in plan.parents}.values()


def kept(stream: Stream, config: Mapping[str, Any], totals: Totals, check: Check) -> Made:
    """What was streamed, staged, once `check` has nothing against its digest."""
    check(digest_of(stream.finished(), config))
    return Made(stream.keep(), config, totals)


@dataclass(slots=True)
class Kitchen:
    """The parents of a plan, open, in their settled order."""

    plan: Plan
    stack: ExitStack
    parents: list[tuple[int, Parent]] = field(init=False)
    sources: list[Source] = field(init=False)
    threads: int = field(init=False)

    def __post_init__(self) -> None:
        place = {id(parent): at for at, parent in enumerate(self.plan.parents)}
        self.parents = [(place[id(parent)], parent) for parent in self.plan.ordered]
        few = len(self.parents) <= MOST_OPEN
        self.sources = [self.stack.enter_context(Source(p.file, few, p.header)) for _, p in self.parents]
        self.threads = worker_threads()

    def parts(self, path: str) -> list[tuple[Source, Slot, Part]]:
        """Whoever adapts a layer, and where its rows will lie."""
        found, at = [], 0
        for source, (key, parent) in zip(self.sources, self.parents, strict=True):
            slot = parent.slots.get(path)
            if slot is not None:
                rows = slice(at, at + slot.rank)
                part = Part(rows, key, parent.version.digest, parent.at(path), slot.scale)
                found.append((source, slot, part))
                at += slot.rank
        return found

    def rank(self, path: str) -> int:
        """The ranks of all who adapt a layer together."""
        return sum(parent.slots[path].rank for _, parent in self.parents if path in parent.slots)

    def numbers(self, path: str) -> int:
        """How many numbers the stack of a layer holds."""
        layer = self.plan.layers[path]
        return self.rank(path) * (layer.inputs + layer.outputs)

    def read(self, path: str) -> Stack:
        """All factors of a layer, in float32."""
        import numpy as np

        layer, parts = self.plan.layers[path], self.parts(path)
        rank = parts[-1][2].rows.stop
        a = np.empty((rank, layer.inputs), np.float32)
        b = np.empty((layer.outputs, rank), np.float32)
        c = np.empty(rank)
        for source, slot, part in parts:
            key_a, key_b = slot.keys
            source.read(key_a, out=a[part.rows].reshape(source.info(key_a).shape))
            b[:, part.rows] = source.read(key_b).reshape(layer.outputs, -1)
            c[part.rows] = part.factor
        made = Stack(path, b, a, c, tuple(part for _, _, part in parts))
        self.check(made)
        return made

    def check(self, stack: Stack) -> None:
        """Name the parent that holds what is no number."""
        if all_finite(stack.a, stack.b):
            return
        for part in stack.parts:
            pair = stack.part(part)
            if not all_finite(pair.a, pair.b):
                raise self.spoiled(part.key, stack.path)

    def spoiled(self, key: int, path: str) -> LftregError:
        return InvalidData(
            f"{self.plan.parents[key].version.ref} holds numbers that are none (NaN or infinity) in {path}",
            "it was damaged in training; compose an earlier version",
            code="not-finite",
        )

    def mix(self, stack: Stack) -> Pair:
        """What the method makes of a layer, before anything is cut."""
        method, options = self.plan.method, dict(self.plan.options)
        if method.truncates:
            options.pop("rank", None), options.pop("max_error", None)
        assert method.mix is not None
        made = method.mix(stack, **options)
        if not isinstance(made, Pair):
            raise LftregError(f"method {method.name!r} gave no Pair back", "report it to its author")
        layer = self.plan.layers[stack.path]
        if made.b.shape != (layer.outputs, made.rank) or made.a.shape != (made.rank, layer.inputs):
            raise LftregError(
                f"method {method.name!r} gave factors of shapes {made.b.shape} and {made.a.shape} for {stack.path}",
                "report it to its author",
            )
        return made


def keep_freed_memory() -> None:
    """Let glibc hold on to what is freed, for the next layer to use.

    It gives every array of a megabyte back to the system, which has to clear the pages anew for the next:
    a third of the time of a composition. Elsewhere than on glibc nothing happens. It holds for the whole
    process, and from then on: what is freed, up to 128 MiB, stays with it.
    """
    import ctypes

    with suppress(OSError, AttributeError, TypeError):  # no glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)
        mallopt(_M_TRIM_THRESHOLD, 128 << 20)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """BLAS in one thread: layers run side by side instead, and how a sum is split stays the same."""
    import numpy as np  # noqa: F401  # first: what is not loaded cannot be limited
    from threadpoolctl import threadpool_limits

    # The limit is the whole process's: who comes first sets it, who leaves last takes it back.
    with _BLAS.lock:
        _BLAS.users += 1
        if _BLAS.limits is None:
            _BLAS.limits = threadpool_limits(1, "blas")
    try:
        yield
    finally:
        with _BLAS.lock:
            _BLAS.users -= 1
            if not _BLAS.users:
                _BLAS.limits.restore_original_limits()
                _BLAS.limits = None


class _Blas:
    """Who computes with one thread of BLAS at the moment."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.limits: Any = None


_BLAS = _Blas()


def worker_threads() -> int:
    """Processors this process may use, at most 8; OMP_NUM_THREADS lowers it."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    wished = os.environ.get("OMP_NUM_THREADS", "")
    return max(1, min(allowed, int(wished) if wished.isdecimal() else 8, 8))


def ahead(work: Callable[[str], Any], paths: Sequence[str], threads: int) -> Generator[Any, None, None]:
    """The results of some work in order, computed a little ahead and no further: memory stays small.

    Close it, as in `with closing(ahead(...))`: what is being computed then ends before files are closed.
    """
    import numpy as np

    def quietly(path: str) -> Any:
        with np.errstate(over="ignore", invalid="ignore"):  # of one thread; overflows are looked for and told
            return work(path)

    if threads == 1:
        yield from map(quietly, paths)
        return
    with ThreadPoolExecutor(threads, thread_name_prefix="lftreg-layer") as pool:
        waiting: deque[Future[Any]] = deque()
        try:
            for path in paths:
                waiting.append(pool.submit(quietly, path))
                if len(waiting) > threads + 1:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()
