"""Steps of a GPU as CUDA graphs: a pass over small batches spends most of its time on being launched.

A graph is recorded for a number of rows and a length, both rounded up, and runs again with other tokens, positions
and adapters: these lie in tensors that stay where they are. Rows that only fill a batch up write to the last position
of a place, which no conversation reaches.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.serving.pool import Parts, Table, Work

if TYPE_CHECKING:
    import torch

    from lftreg.serving.passes import Together

SHARE = 0.8  # of the free memory that a cache of the full length may take
LENGTHS = 256  # positions are rounded up to a multiple
WARM = 2  # passes before one is recorded: libraries and kernels settle


class Unrecordable(Exception):
    """A pass cannot be recorded, as where a family's code waits for the GPU in the middle of it."""


def room_to_record(together: Together) -> bool:
    """Whether the cache can be given all the room that it will ever have."""
    import torch

    kv = together.kv
    free, _ = torch.cuda.mem_get_info(together.device)
    return kv.bytes * kv.longest <= SHARE * free * max(1, kv.room)


class Recorded:
    """Records the steps of `together`, whose cache must have all the room that it will ever have."""

    def __init__(self, together: Together, parts: int = 1) -> None:
        """`parts` is how many slots a row may use; a step with more is not recorded."""
        import torch

        kv = together.kv
        kv.grow(kv.longest)
        self.together, self.parts = together, parts
        self._graphs: dict[tuple[int, int, bool], tuple[Any, torch.Tensor]] = {}
        device, rows = together.device, kv.places
        self._ids = torch.zeros(rows, 1, dtype=torch.long, device=device)
        self._at = torch.zeros(rows, dtype=torch.long, device=device)
        self._rows = torch.arange(rows, device=device)
        self._slots = torch.full((rows, parts), -1, dtype=torch.long, device=device)
        self._weights = torch.zeros(rows, parts, dtype=torch.float32, device=device)
        self._told: list[Parts] = []
        self._grown = together.pool.grown
        # One pass runs at a time, and what it leaves is read before the next: they may share what they compute in.
        self._memory = torch.cuda.graph_pool_handle()

    def fits(self, rows: Sequence[Parts]) -> bool:
        return all(len(parts) <= self.parts for parts in rows)

    def step(self, rows: Sequence[Parts], ids: Sequence[int], at: Sequence[int]) -> torch.Tensor:
        """As `Together.step`. Raises Unrecordable."""
        import torch

        kv, count = self.together.kv, len(rows)
        size = min(kv.places, 1 << (count - 1).bit_length())
        longest = min(kv.longest, -(-(max(at) + 1) // LENGTHS) * LENGTHS)
        fill = size - count
        self._ids[:size, 0] = torch.tensor([*ids, *[0] * fill])
        self._at[:size] = torch.tensor([*at, *[kv.longest - 1] * fill])
        if self._told != rows:
            self._told = list(rows)
            table = [[*(slot for slot, _ in parts), *[-1] * (self.parts - len(parts))] for parts in rows]
            scale = [[*(weight for _, weight in parts), *[0.0] * (self.parts - len(parts))] for parts in rows]
            self._slots.fill_(-1)
            self._slots[:count] = torch.tensor(table)
            self._weights[:count] = torch.tensor(scale)
        if self._grown != self.together.pool.grown:  # layers have got slots that they had not
            self._graphs.clear()
            self._memory = torch.cuda.graph_pool_handle()
            self._grown = self.together.pool.grown
        adapted = any(rows)
        key = (size, longest, adapted)
        if key not in self._graphs:
            stream = torch.cuda.current_stream()
            try:
                self._graphs[key] = self._record(size, longest, adapted, rows)
            except Exception as error:
                torch.cuda.set_stream(stream)  # a recording that breaks off stays in its own
                raise Unrecordable(str(error)) from error
        graph, logits = self._graphs[key]
        graph.replay()
        return logits[:count]

    def _record(
        self, size: int, longest: int, adapted: bool, rows: Sequence[Parts]
    ) -> tuple[Any, torch.Tensor]:
        import torch

        used = frozenset(slot for parts in rows for slot, _ in parts)
        table = Table(self._slots[:size], self._weights[:size])
        run = self._pass(size, longest, Work(slots=used, table=table, all=True) if adapted else None)
        side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM):
                run()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Another thread may fill a slot meanwhile.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            logits = run()
        return graph, logits

    def _pass(self, size: int, longest: int, work: Work | None) -> Callable[[], torch.Tensor]:
        together = self.together

        def run() -> torch.Tensor:
            together.pool.work = work
            return together.pass_of(self._rows[:size], self._ids[:size], self._at[:size], longest)

        return run
