"""Adapters of many rows in one forward pass: their factors stacked in slots beside the base's layers.

A slot holds one adapter, up to a rank, in every layer that any adapter changes; what is smaller is filled with
zeros, a larger one takes several slots. The base's layers stay as they are: a hook adds to their output

    y[row] += sum over the row's (slot, weight) of weight * (x[row] A[slot]) B[slot]

with the adapter's own scale kept in B. A row of several slots is a weighted sum of adapters, and exactly that sum,
since factors that stand side by side add up. Rows of one adapter are computed in one segment where the adapters are
few; where they are many, one batched product takes all of them, from a workspace that holds the slots in use next to
each other and into which only a slot that has come or changed is copied.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from lftreg.models.layers import Seat, Together

if TYPE_CHECKING:
    import torch

Parts = tuple[tuple[int, float], ...]  # the slots of a row, and how much each counts
FEW = 2  # adapters up to which segments are faster than a batched product; benchmarks/serving.py tells


@dataclass(slots=True)
class Segment:
    """Rows that use one slot. `rows` is None where they are all rows, a slice where they follow each other."""

    slot: int
    rows: torch.Tensor | slice | None
    weights: torch.Tensor | None


@dataclass(slots=True)
class Mixed:
    """Rows that use many slots: entry (k, m) of `rows` is the m-th row of the k-th slot of the workspace.

    `weights`, (k, m, 1), is 0 where a slot has fewer rows than another, and None where it is 1 throughout.
    `straight` says that row k uses slot k and no other.
    """

    count: int
    most: int
    rows: torch.Tensor
    weights: torch.Tensor | None
    straight: bool


@dataclass(slots=True)
class Table:
    """Rows by the slots that each uses, (rows, parts), -1 where it uses fewer; `weights` are theirs, float32.

    The kernels of a GPU read it. The tensors keep their place in memory, so that a recorded pass finds them.
    """

    slots: torch.Tensor
    weights: torch.Tensor


@dataclass(slots=True)
class Work:
    """What the layers add in the next forward pass, by row."""

    segments: list[Segment] = field(default_factory=list)
    mixed: Mixed | None = None
    slots: frozenset[int] = frozenset()
    table: Table | None = None
    all: bool = False  # whether every layer that has slots takes part, whatever is in them


class Pool:
    """The slots of a model. One thread runs the model; another may fill a slot that no row uses."""

    def __init__(
        self, groups: Sequence[Together], slots: int, rank: int, room: int, like: torch.Tensor
    ) -> None:
        """`room` is how many slots the workspace holds; `like` gives dtype and device."""
        self.slots, self.rank, self.room = slots, rank, min(room, slots)
        self._like = like
        self.work: Work | None = None
        self.grown = 0  # how often layers have got slots
        self._groups = [Group(self, group) for group in groups]
        self.at: dict[str, tuple[Group, int]] = {
            seat.path: (group, place) for group in self._groups for place, seat in enumerate(group.seats)
        }
        self._held: list[int | None] = [None] * self.room  # which slot each place of the workspace holds
        self._stale: set[int] = set()  # slots that were filled anew since they were copied
        self._hooks = [
            seat.module.register_forward_hook(group.hook(place))
            for group in self._groups
            for place, seat in enumerate(group.seats)
        ]

    @property
    def seats(self) -> list[Seat]:
        """Every layer that an adapter may change."""
        return [seat for group in self._groups for seat in group.seats]

    @property
    def stale(self) -> bool:
        """Whether a slot that the workspace holds has been filled anew."""
        return any(slot in self._stale for slot in self._held)

    def close(self) -> None:
        """Take the hooks off the model again."""
        for hook in self._hooks:
            hook.remove()

    @property
    def bytes(self) -> int:
        """What slots and workspace take."""
        return sum(group.bytes for group in self._groups)

    def make_room(self, paths: Iterable[str]) -> None:
        """Have slots for these layers, which adapters change."""
        for path in paths:
            self.at[path][0].allocate(self._like)

    def fill(self, slot: int, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        """Put an adapter into a slot: by path A, (rank, inputs), and scaled B, (outputs, rank)."""
        self.make_room(factors)
        for group in self._groups:
            group.fill(slot, factors)
        self._stale.add(slot)

    def arrange(self, rows: Sequence[Parts]) -> Work:
        """What is to be added to a batch of these rows, one after another. Copies slots that have come."""
        by_slot: dict[int, list[tuple[int, float]]] = {}
        for row, parts in enumerate(rows):
            for slot, weight in parts:
                by_slot.setdefault(slot, []).append((row, weight))
        used = frozenset(by_slot)
        if len(by_slot) <= FEW:
            return Work([self._segment(slot, uses, len(rows)) for slot, uses in by_slot.items()], None, used)
        places = self._place(by_slot)
        left = [slot for slot in by_slot if slot not in places]  # more than the workspace holds
        segments = [self._segment(slot, by_slot[slot], len(rows)) for slot in left]
        return Work(segments, self._mix(places, by_slot, len(rows)), used)

    def single(self, parts: Parts) -> Work:
        """What is to be added where all rows are of one adapter or one sum, as in reading a prompt."""
        return self.runs([(None, parts)])

    def runs(self, runs: Sequence[tuple[slice | None, Parts]]) -> Work:
        """What is to be added where rows that follow each other are of one adapter or one sum; None is all rows."""
        segments = [
            Segment(slot, rows, None if weight == 1.0 else self._tensor([[weight]]))
            for rows, parts in runs
            for slot, weight in parts
        ]
        return Work(segments, None, frozenset(segment.slot for segment in segments))

    def _tensor(self, values: Any, dtype: Any = None) -> torch.Tensor:
        import torch

        return torch.tensor(values, dtype=dtype or self._like.dtype, device=self._like.device)

    def _segment(self, slot: int, uses: Sequence[tuple[int, float]], rows: int) -> Segment:
        import torch

        weights = None
        if any(weight != 1.0 for _, weight in uses):
            weights = self._tensor([[weight] for _, weight in uses])
        whole = len(uses) == rows
        return Segment(slot, None if whole else self._tensor([row for row, _ in uses], torch.long), weights)

    def _place(self, wanted: Iterable[int]) -> dict[int, int]:
        """Have slots in the workspace, at its beginning and without a gap as far as it has room."""
        wanted = list(wanted)[: self.room]
        count = len(wanted)
        places = {
            slot: at
            for at, slot in enumerate(self._held[:count])
            if slot in wanted and slot not in self._stale
        }
        free = iter(at for at in range(count) if at not in places.values())
        for slot in wanted:
            if slot not in places:
                places[slot] = at = next(free)
                self._held = [None if held == slot else held for held in self._held]
                self._held[at] = None  # neither the old nor the new, should a copy fail
                for group in self._groups:
                    group.copy(slot, at)
                self._held[at] = slot
                self._stale.discard(slot)
        return places

    def _mix(self, places: Mapping[int, int], by_slot: Mapping[int, Any], rows: int) -> Mixed:
        import torch

        order = sorted(places, key=lambda slot: places[slot])
        most = max(len(by_slot[slot]) for slot in order)
        table = [[row for row, _ in by_slot[slot]] for slot in order]
        weights = [[weight for _, weight in by_slot[slot]] for slot in order]
        straight = most == 1 and [row for (row,) in table] == list(range(rows))
        plain = all(len(w) == most and set(w) == {1.0} for w in weights)
        filled = [row + row[:1] * (most - len(row)) for row in table]  # 0 x inf spoils a row: its own, then
        scales = [w + [0.0] * (most - len(w)) for w in weights]
        return Mixed(
            len(order),
            most,
            self._tensor(filled, torch.long).flatten(),
            None if plain else self._tensor(scales).unsqueeze(-1),
            straight,
        )


class Group:
    """Layers that read one input, with the factors that all slots have for them."""

    def __init__(self, pool: Pool, seats: Together) -> None:
        self.pool, self.seats = pool, seats
        self.a: Any = None  # (slots, inputs, layers x rank): a row times a matrix is fastest along its rows
        self.b: list[Any] = []  # a layer: (slots, rank, outputs)
        self._a: Any = None  # the same for the places of the workspace
        self._b: list[Any] = []
        self._filled: set[int] = set()  # slots that are not all zeros
        self._seen: Any = None  # the input that was multiplied last, and by what work
        self._shrunk: Any = None

    @property
    def bytes(self) -> int:
        held = [self.a, self._a, *self.b, *self._b] if self.a is not None else []
        return sum(one.numel() * one.element_size() for one in held)

    def allocate(self, like: torch.Tensor) -> None:
        if self.a is not None:
            return
        rank, inputs = self.pool.rank, self.seats[0].inputs
        wide = rank * len(self.seats)
        room, slots = self.pool.room, self.pool.slots
        self.b = [like.new_zeros(slots, rank, seat.outputs) for seat in self.seats]
        self._b = [like.new_zeros(room, rank, seat.outputs) for seat in self.seats]
        self._a = like.new_zeros(room, inputs, wide)
        self.a = like.new_zeros(slots, inputs, wide)  # last: it says that all are there
        self.pool.grown += 1  # behind that: what is recorded from now on has them

    def fill(self, slot: int, factors: Mapping[str, tuple[torch.Tensor, torch.Tensor]]) -> None:
        mine = [factors.get(seat.path) for seat in self.seats]
        if not any(mine) and slot not in self._filled:
            return
        self._filled.add(slot)  # at once: what fails on the way leaves something, too
        rank = self.pool.rank
        for place, found in enumerate(mine):
            a, b = self.a[slot, :, place * rank : (place + 1) * rank], self.b[place][slot]
            size = 0 if found is None else found[0].shape[0]
            if found is not None:
                a[:, :size].copy_(found[0].T)
                b[:size].copy_(found[1].T)
            a[:, size:].zero_()
            b[size:].zero_()
        if not any(mine):
            self._filled.discard(slot)

    def copy(self, slot: int, at: int) -> None:
        """Bring a slot into the workspace."""
        if self.a is None:
            return
        self._a[at].copy_(self.a[slot])
        for mine, held in zip(self._b, self.b, strict=True):
            mine[at].copy_(held[slot])

    def hook(self, place: int) -> Any:
        def add(module: Any, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
            work = self.pool.work
            if work is None or self.a is None:
                return None
            if not work.all and self._filled.isdisjoint(work.slots):
                return None
            x, y = inputs[0], output.view(-1, output.shape[-1])
            other = y.dtype != self.a.dtype  # a layer that is kept in another precision
            sums = y.new_zeros(y.shape, dtype=self.a.dtype) if other else y
            self._add(work, place, x.reshape(-1, x.shape[-1]), sums)
            if other:
                y += sums
            if place == len(self.seats) - 1:
                self._seen = self._shrunk = None
            return output

        return add

    def _add(self, work: Work, place: int, x: torch.Tensor, y: torch.Tensor) -> None:
        rank = self.pool.rank
        if work.table is not None:
            from lftreg.serving import kernels

            (low,) = self._down(work, x)
            kernels.expand(low, self.b[place], y, work.table.slots, work.table.weights, place * rank)
            return
        part = slice(place * rank, (place + 1) * rank)
        for segment, low in zip(work.segments, self._down(work, x), strict=False):
            b, mine = self.b[place][segment.slot], low[:, part]
            if segment.rows is None:
                y.addmm_(mine, b)
            elif isinstance(segment.rows, slice):
                y[segment.rows].addmm_(mine, b)
            else:
                y.index_add_(0, segment.rows, mine @ b)
        mixed = work.mixed
        if mixed is not None:
            mine, b = self._down(work, x)[-1][..., part], self._b[place][: mixed.count]
            if mixed.straight:
                y.unsqueeze(1).baddbmm_(mine, b)
            else:
                y.index_add_(0, mixed.rows, (mine @ b).flatten(0, 1))

    def _down(self, work: Work, x: torch.Tensor) -> list[torch.Tensor]:
        """The input times A, once for all layers that read it: a tensor a segment, and last that of the mixed rows."""
        if self._seen is not None and self._seen[0] is work and self._seen[1] == x.data_ptr():
            return cast("list[torch.Tensor]", self._shrunk)
        given, x = x, x.to(self.a.dtype)
        made = []
        if work.table is not None:
            from lftreg.serving import kernels

            made.append(kernels.shrink(x.contiguous(), self.a, work.table.slots))
        for segment in work.segments:
            rows = x if segment.rows is None else x[segment.rows]
            low = rows @ self.a[segment.slot]
            made.append(low if segment.weights is None else low * segment.weights)
        mixed = work.mixed
        if mixed is not None:
            rows = x if mixed.straight else x[mixed.rows]
            low = rows.view(mixed.count, mixed.most, -1) @ self._a[: mixed.count]
            made.append(low if mixed.weights is None else low * mixed.weights)
        self._seen, self._shrunk = (work, given.data_ptr(), given), made
        return made


__all__ = ["Parts", "Pool", "Seat", "Work"]
