"""What happens in a layer when its parents are added, measured on the factors as they were written.

Everything is a product of two small Gram matrices: <B1 A1, B2 A2> = sum((B1^T B2) * (A1 A2^T)). So a
layer of 4096 x 4096 is measured without its 16 million numbers ever standing anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lftreg.composer.layers import Grams, Pair, Part, Stack, grams_of, inner, quick_grams
from lftreg.composer.lowrank import EXACT_UP_TO, SMALL, Spectrum, spectrum_of

if TYPE_CHECKING:
    from lftreg.composer.layers import Doubles, Floats

SAMPLED = 64  # rows and columns of a layer on which signs are compared
PROBES = 8


@dataclass(frozen=True, slots=True)
class LayerReport:
    """One layer of a composition.

    `norm` is the Frobenius norm of the weighted sum, `error` that of the result's distance from it.
    `inner` holds the inner products of what the parents add without their weights; a parent that leaves
    the layer alone has zeros. `conflict` is the share of sampled entries on which the signs of
    the parents differ, None where fewer than two adapt the layer. `spectrum` is that of the weighted sum.
    """

    path: str
    shape: tuple[int, int]
    norm: float
    error: float
    inner: Doubles
    conflict: float | None = None
    spectrum: Spectrum | None = None


def inspect(
    stack: Stack,
    made: Pair,
    parents: int,
    grams: Grams | None = None,
    spectrum: Spectrum | None = None,
) -> LayerReport:
    """Measure a layer. `made` is what was written, as it was rounded.

    `parents` is how many there are; a `Part.key` is a row of `inner`. The error is good to 3e-8 of
    the norm, and to three figures where the result kept the parents' B, as an exact sum does.
    """
    if stack.c.size > EXACT_UP_TO:
        return probed(stack, made, parents)
    kept = _keeps_b(stack, made)
    grams, products, norm2 = _products(stack, grams, quick=kept)
    if spectrum is None:
        spectrum = spectrum_of(grams, stack.c)
    return LayerReport(
        stack.path,
        (stack.b.shape[0], stack.a.shape[1]),
        math.sqrt(max(0.0, norm2)),
        _error(stack, made, grams, norm2, kept),
        _inner(stack, products, parents),
        _conflict(stack),
        spectrum,
    )


def _keeps_b(stack: Stack, made: Pair) -> bool:
    """Whether a result has the parents' own B, and zeros beside it."""
    import numpy as np

    rank = stack.c.size
    return bool(
        made.b.shape[1] >= rank and np.array_equal(made.b[:, :rank], stack.b) and not made.a[rank:].any()
    )


def _products(stack: Stack, grams: Grams | None, quick: bool) -> tuple[Grams, Doubles, float]:
    """Gram matrices, their product entry by entry, and the squared norm of the weighted sum.

    With `quick` large layers are looked at in float32 first: enough for a result whose error is a difference
    that was taken already. Parents that nearly cancel each other need all figures even then.
    """
    if quick and grams is None and stack.b.size + stack.a.size > SMALL:
        grams = quick_grams(stack.b, stack.a)
        products = grams.b * grams.a
        norm2 = float(stack.c @ products @ stack.c)
        if norm2 > 1e-3 * _scale(products, stack.c):
            return grams, products, norm2
        grams = None
    grams = grams or grams_of(stack.b, stack.a)
    products = grams.b * grams.a
    return grams, products, _settled(float(stack.c @ products @ stack.c), products, stack.c)


def _scale(products: Doubles, c: Doubles) -> float:
    """The square of what all parts would come to if they all pointed one way."""
    import numpy as np

    return float(np.abs(c) @ np.sqrt(np.clip(np.diag(products), 0, None))) ** 2


def _settled(norm2: float, products: Doubles, c: Doubles) -> float:
    """Nothing, where what is left of parents that cancel each other is the rounding of their products."""
    return norm2 if norm2 > 1e-14 * _scale(products, c) else 0.0


def _error(stack: Stack, made: Pair, grams: Grams, norm2: float, kept: bool) -> float:
    """The distance of what was made from the weighted sum."""
    import numpy as np

    rank, c = stack.c.size, np.ones(made.rank) if made.c is None else made.c
    if kept:
        # B is the parents' own, so the difference is B (A' - cA), and nothing is lost to cancellation.
        off = np.empty(stack.a.shape, np.float32)  # the difference itself is small: three figures will do
        for at in range(0, rank, 4):
            rows = slice(at, at + 4)
            piece = made.a[:rank][rows] * c[:rank][rows, None]
            piece -= stack.a[rows] * stack.c[rows, None]
            off[rows] = piece
        return math.sqrt(max(0.0, float((grams.b * (off @ off.T)).sum())))
    if (rank + made.rank) * (stack.b.shape[0] + stack.a.shape[1]) <= SMALL:
        left = triangle(np.hstack([-made.b.astype(np.float64) * c, stack.b * stack.c]))
        right = triangle(np.vstack([made.a, stack.a]).T)
        return float(np.linalg.norm(left @ right.T))
    own = grams_of(made.b, made.a)
    across = inner(stack.b, made.b) * (stack.c[:, None] * inner(stack.a.T, made.a.T) * c)
    return math.sqrt(max(0.0, float(c @ (own.b * own.a) @ c) - 2 * float(across.sum()) + norm2))


def triangle(x: Floats | Doubles) -> Doubles:
    """The triangular factor of x, in float64: its product with itself is that of x."""
    import numpy as np

    made: Doubles = np.linalg.qr(x.astype(np.float64), mode="r")  # type: ignore[assignment]  # the stubs know one mode
    return made


def _inner(stack: Stack, products: Doubles, parents: int) -> Doubles:
    """Inner products of the parents' updates, without weights, (parents, parents)."""
    import numpy as np

    spread = np.zeros((parents, stack.c.size))
    for part in stack.parts:
        spread[part.key, part.rows] = part.scale
    made: Doubles = spread @ products @ spread.T
    return made


def _conflict(stack: Stack) -> float | None:
    """The share of entries, on an even grid of the layer, on which the parents' signs differ."""
    import numpy as np

    if len(stack.parts) < 2:
        return None
    rows, columns = grid(stack.b.shape[0]), grid(stack.a.shape[1])
    b, a = stack.b[rows], np.ascontiguousarray(stack.a[:, columns])
    return conflict_of([p.scale * (b[:, p.rows] @ a[p.rows]) for p in stack.parts])


def conflict_of(updates: Iterable[Floats]) -> float:
    """The share of entries on which the signs of some updates of one shape differ."""
    import numpy as np

    signs = np.sign(np.stack(list(updates)))
    return float(((signs > 0).any(0) & (signs < 0).any(0)).mean())


def grid(length: int) -> slice:
    return slice(0, None, max(1, length // SAMPLED))


def probed(stack: Stack, made: Pair, parents: int) -> LayerReport:
    """A layer of too many ranks for its Gram matrices: norms by PROBES random vectors (Hutchinson 1990).

    Norms are good to some 3 % over a hundred layers.
    """
    import numpy as np

    z = probes_of(stack.a.shape[1])
    az, written = inner(stack.a.T, z), inner(made.a.T, z)
    if made.c is not None:
        written *= made.c[:, None]
    sketch = Sketch(stack.path, (stack.b.shape[0], stack.a.shape[1]), parents, stack.parts)
    done = np.zeros((parents, stack.b.shape[0], PROBES))
    for part in stack.parts:
        done[part.key] = part.scale * (stack.b[:, part.rows] @ az[part.rows])
    sketch.add(done, made.b @ written)
    return sketch.report(_conflict(stack))


def probes_of(inputs: int) -> Floats:
    """Random vectors (inputs, PROBES), always the same."""
    import numpy as np

    return np.random.Generator(np.random.Philox(inputs)).standard_normal((inputs, PROBES), np.float32)


class Sketch:
    """What the parents and the result do to the probes, added up over rows of a layer."""

    def __init__(self, path: str, shape: tuple[int, int], parents: int, parts: Iterable[Part]) -> None:
        import numpy as np

        self._path, self._shape = path, shape
        self._weights, self._inner = np.zeros(parents), np.zeros((parents, parents))
        for part in parts:
            self._weights[part.key] = part.weight
        self._norm = self._error = 0.0

    def add(self, done: Doubles, made: Doubles) -> None:
        """Some rows: of each parent without its weight, (parents, rows, PROBES), and of the result, (rows, PROBES)."""
        import numpy as np

        whole = np.tensordot(self._weights, done, 1)
        flat = done.reshape(len(done), -1)
        self._inner += flat @ flat.T / PROBES
        self._norm += float((whole**2).sum()) / PROBES
        self._error += float(((made - whole) ** 2).sum()) / PROBES

    def report(self, conflict: float | None) -> LayerReport:
        norm, error = math.sqrt(self._norm), math.sqrt(self._error)
        return LayerReport(self._path, self._shape, norm, error, self._inner, conflict)
