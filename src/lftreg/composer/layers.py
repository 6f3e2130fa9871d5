"""What a method of the factors engine is given, one layer at a time, and what it gives back.

The update of a layer is B diag(c) A, where A is (R, inputs), B is (outputs, R), R is the sum of the
parents' ranks there and c holds what every row counts: its parent's weight times its scale. All of it is
float32 numpy but for c, which is float64. The layer's update in full, outputs x inputs, is never built.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]
    Doubles = NDArray[np.float64]

PIECE = 1 << 20  # numbers that are turned to float64 at once


@dataclass(frozen=True, slots=True)
class Pair:
    """A low-rank matrix b diag(c) a: a is (k, inputs), b is (outputs, k), c is (k,) or None for ones."""

    b: Floats
    a: Floats
    c: Doubles | None = None

    @property
    def rank(self) -> int:
        return int(self.a.shape[0])

    def settled(self) -> Pair:
        """The same matrix with c multiplied into a, rounded to float32."""
        import numpy as np

        if self.c is None:
            return self
        return Pair(self.b, self.a * self.c.astype(np.float32)[:, None])


@dataclass(frozen=True, slots=True)
class Part:
    """One parent's share of a layer: where its rows lie in the stack, and whose they are.

    `key` tells the parents of a composition apart; `digest` is what is the same wherever it is computed.
    """

    rows: slice
    key: int
    digest: str
    weight: float
    scale: float

    @property
    def factor(self) -> float:
        return self.weight * self.scale


@dataclass(frozen=True, slots=True)
class Stack:
    """All parents of one layer on top of each other, in an order that does not depend on how they were typed."""

    path: str
    b: Floats
    a: Floats
    c: Doubles
    parts: tuple[Part, ...]

    @property
    def whole(self) -> Pair:
        """The weighted sum of the parents, exactly."""
        return Pair(self.b, self.a, self.c)

    def part(self, part: Part) -> Pair:
        """What one parent adds, without its weight."""
        import numpy as np

        rank = part.rows.stop - part.rows.start
        return Pair(self.b[:, part.rows], self.a[part.rows], np.full(rank, part.scale))


@dataclass(frozen=True, slots=True)
class Grams:
    """b^T b and a a^T of a pair with its c left out, both (k, k) in float64."""

    b: Doubles
    a: Doubles


def all_finite(*arrays: Floats) -> bool:
    """Whether all numbers are numbers. One product tells; only where it overflows each is looked at."""
    import numpy as np

    if math.isfinite(sum(float(np.vdot(one, one)) for one in arrays)):
        return True
    return all(bool(np.isfinite(one).all()) for one in arrays)


def grams_of(b: Floats, a: Floats) -> Grams:
    return Grams(inner(b, b), inner(a.T, a.T))


def quick_grams(b: Floats, a: Floats) -> Grams:
    """Gram matrices good to 1e-6, multiplied in float32 and summed in float64, at a third of the time."""
    return Grams(_quick_inner(b), _quick_inner(a.T))


def _quick_inner(x: Floats) -> Doubles:
    import numpy as np

    total = np.zeros((x.shape[1],) * 2)
    for at in range(0, x.shape[0], 1024):
        piece = x[at : at + 1024]
        total += piece.T @ piece
    return total


def inner(x: Floats, y: Floats) -> Doubles:
    """x^T y, summed in float64 over rows that are read in pieces."""
    import numpy as np

    step = max(1, PIECE // max(1, x.shape[1] + y.shape[1]))
    total = np.zeros((x.shape[1], y.shape[1]))
    for at in range(0, x.shape[0], step):
        left = x[at : at + step].astype(np.float64)
        total += left.T @ (left if y is x else y[at : at + step].astype(np.float64))
    return total


def stacked(b: Sequence[Any], a: Sequence[Any]) -> tuple[Any, Any]:
    """Factors side by side."""
    import numpy as np

    return np.hstack(b), np.vstack(a)
