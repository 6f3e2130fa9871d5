"""Keys and values of many conversations at once, each in a place of its own and of a length of its own.

transformers' model code asks its cache for one thing: take these new keys and values, give me all that there are.
`Places` answers for one row that is read piece by piece, or for all rows that go on by one token.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

FIRST = 128  # positions that are kept room for at first; more by doubling


class Places:
    """Key-value tensors of (places, heads, positions, width) for every layer of a model."""

    def __init__(self, places: int, longest: int) -> None:
        self.places, self.longest = places, longest
        self.room = 0
        self.cache = _cache(self)
        self._keys: dict[int, torch.Tensor] = {}
        self._values: dict[int, torch.Tensor] = {}
        self._update: Callable[[torch.Tensor, torch.Tensor], None] | None = None
        self._pieces: Sequence[tuple[int, int, int]] = ()
        self._rows: Any = None
        self._at: Any = None
        self._shown = (slice(0), 0)

    @property
    def bytes(self) -> int:
        held = [*self._keys.values(), *self._values.values()]
        return sum(one.numel() * one.element_size() for one in held)

    def reading(self, place: int, start: int, count: int) -> None:
        """The next pass reads tokens `start` to `start + count` of one place."""
        self.grow(start + count)
        self._pieces = ()
        self._rows, self._at = place, slice(start, start + count)
        self._shown = (slice(place, place + 1), start + count)

    def packing(self, pieces: Sequence[tuple[int, int, int]]) -> None:
        """The next pass reads whole prompts one behind the other: tokens `start` to `stop` are those of `place`."""
        self.grow(max(stop - start for _, start, stop in pieces))
        self._pieces = pieces

    def going_on(self, rows: torch.Tensor, at: torch.Tensor, longest: int) -> None:
        """The next pass has one token of each of the first places, at position `at`; `rows` counts them from 0."""
        self.grow(longest)
        self._pieces = ()
        self._rows, self._at = rows, at
        self._shown = (slice(0, len(rows)), longest)

    def update(
        self, keys: torch.Tensor, values: torch.Tensor, layer: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        if layer not in self._keys:
            room = self._made(keys, self.room), self._made(values, self.room)
            self._keys[layer], self._values[layer] = room
        held, also = self._keys[layer], self._values[layer]
        if self._pieces:
            for place, start, stop in self._pieces:
                held[place, :, : stop - start] = keys[0, :, start:stop]
                also[place, :, : stop - start] = values[0, :, start:stop]
            return keys, values
        if isinstance(self._at, slice):
            held[self._rows, :, self._at] = keys[0]
            also[self._rows, :, self._at] = values[0]
        else:
            held[self._rows, :, self._at] = keys[:, :, 0]
            also[self._rows, :, self._at] = values[:, :, 0]
        rows, longest = self._shown
        return held[rows, :, :longest], also[rows, :, :longest]

    def copy(self, source: int, target: int, count: int) -> None:
        """Let a place begin as another does, with the first `count` tokens."""
        for held in (*self._keys.values(), *self._values.values()):
            held[target, :, :count] = held[source, :, :count]

    def swap(self, one: int, other: int, count: int) -> None:
        """Let two places change what they hold, of which the first `count` tokens matter."""
        for held in (*self._keys.values(), *self._values.values()):
            kept = held[one, :, :count].clone()
            held[one, :, :count] = held[other, :, :count]
            held[other, :, :count] = kept

    def mend(self) -> None:
        """Take out what is no number: masked or not, a NaN spreads to whatever is added up with it."""
        for held in (*self._keys.values(), *self._values.values()):
            held.nan_to_num_(0.0, 0.0, 0.0)

    def grow(self, wanted: int) -> None:
        """Have room for so many positions. Where memory runs out, all is as it was and may be tried again."""
        if wanted <= self.room:
            return
        room = min(self.longest, max(FIRST, 2 * self.room, wanted))
        for held in (self._keys, self._values):
            for layer, old in held.items():
                if old.shape[2] < room:
                    new = self._made(old, room)
                    new[:, :, : old.shape[2]] = old
                    held[layer] = new
        self.room = room

    def _made(self, like: torch.Tensor, room: int) -> torch.Tensor:
        return like.new_zeros(self.places, like.shape[1], room, like.shape[3])


def _cache(places: Places) -> Any:
    """`places` as transformers' model code knows a cache."""
    from transformers.cache_utils import Cache, DynamicLayer

    class Rows(Cache):  # type: ignore[misc]
        def update(
            self, key_states: Any, value_states: Any, layer_idx: int, *args: Any, **kwargs: Any
        ) -> Any:
            return places.update(key_states, value_states, layer_idx)

        def get_seq_length(self, layer_idx: int = 0) -> int:
            return 0  # positions and masks are given to every pass

    return Rows(layers=[DynamicLayer()])
