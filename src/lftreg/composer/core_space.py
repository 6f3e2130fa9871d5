"""The core space of a layer: the small matrices in which its parents can be compared entry by entry.

All parents' B together span at most R directions of the outputs, all A at most R of the inputs. In an
orthonormal basis of either, U and V, a parent's update is a core U^T (B A) V of R x R that loses nothing
(Core Space, arXiv 2509.17786). Before, every parent is brought into one form, B = U s^1/2 and A = s^1/2 V^T, so
that two parents of equal effect have equal cores, however their factors were written.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lftreg.composer.layers import Grams, Pair, Stack, grams_of
from lftreg.composer.lowrank import decompose, product

if TYPE_CHECKING:
    from lftreg.composer.layers import Doubles

NEGLIGIBLE = 1e-12  # of the largest eigenvalue: directions that are the rounding of others


@dataclass(frozen=True, slots=True)
class CoreSpace:
    """Bases and cores of a layer.

    The bases are U = B to_u, (outputs, k), and V^T = to_v A, (l, inputs), of orthonormal columns and rows.
    `left[i] @ right[i]` is the core (k, l) of part i without its weight: left (k, r), right (r, l).
    """

    to_u: Doubles
    to_v: Doubles
    left: tuple[Doubles, ...]
    right: tuple[Doubles, ...]

    def cores(self) -> list[Doubles]:
        return [left @ right for left, right in zip(self.left, self.right, strict=True)]

    def back(self, stack: Stack, core: Doubles) -> Pair:
        """The layer's update whose core this is."""
        return product(stack.b, self.to_u, core @ self.to_v, stack.a)


def core_space(stack: Stack) -> CoreSpace:
    """The core space of a stack, from its Gram matrices."""
    import numpy as np

    grams = grams_of(stack.b, stack.a)
    lefts, rights = np.zeros((stack.c.size,) * 2), np.zeros((stack.c.size,) * 2)
    for part in stack.parts:
        own = Grams(grams.b[part.rows, part.rows], grams.a[part.rows, part.rows])
        core = decompose(own, np.full(len(own.a), part.scale))
        lefts[part.rows, part.rows], rights[part.rows, part.rows] = core.left, core.right
    sb, inverse_b = _basis(lefts.T @ grams.b @ lefts)
    sa, inverse_a = _basis(rights @ grams.a @ rights.T)
    return CoreSpace(
        lefts @ inverse_b,
        inverse_a.T @ rights,
        tuple(sb[:, part.rows] for part in stack.parts),
        tuple(sa[:, part.rows].T for part in stack.parts),
    )


def _basis(gram: Doubles) -> tuple[Doubles, Doubles]:
    """S with S^T S = gram, (k, R), and its right inverse, (R, k): X times that is orthonormal, X^T X = gram."""
    import numpy as np

    values, vectors = np.linalg.eigh(gram)
    kept = values > NEGLIGIBLE * max(
        float(values[-1]), 0.0
    )  # none, where every parent leaves the layer alone
    roots, vectors = np.sqrt(values[kept]), vectors[:, kept]
    return roots[:, None] * vectors.T, vectors / roots


def trimmed(values: Doubles, density: float) -> Doubles:
    """The largest entries by size, a share of `density` of all; the others are 0."""
    import numpy as np

    kept = max(1, round(density * values.size))
    if kept >= values.size:
        return values
    threshold = np.partition(np.abs(values), values.size - kept, axis=None)[values.size - kept]
    return np.where(np.abs(values) >= threshold, values, 0.0)


def elected(values: Sequence[Doubles], weights: Sequence[float], by: str = "total") -> Doubles:
    """The weighted sum of those who agree with the sign that wins in each entry.

    `by` is whose sign wins: `total`, that of the larger sum, or `frequency`, of the larger number. Where all
    agree it is the sum itself. (TIES, Yadav et al. 2023, takes the mean, which halves an adapter that is
    merged with itself at weights of one half.)
    """
    import numpy as np

    weighed = np.stack([w * v for w, v in zip(weights, values, strict=True)])
    sign = np.sign((weighed if by == "total" else np.sign(weighed)).sum(0))
    made: Doubles = np.where(np.sign(weighed) == sign, weighed, 0.0).sum(0)
    return made


def lots(shape: tuple[int, int], density: float, seed: int, path: str, digest: str) -> Doubles:
    """1/density for a share of `density` of all entries, by lot, and 0 for the others.

    Every row is drawn by a counter-based generator (Philox) of its own, so the lots of an entry depend on the
    seed, the layer, the adapter and the entry's place: not on how large the space is, which is for the other
    parents to say, nor on threads, or on what was drawn before.
    """
    import numpy as np

    rows = []
    for row in range(shape[0]):
        key = hashlib.sha256(f"{seed}\n{path}\n{digest}\n{row}".encode()).digest()
        dice = np.random.Generator(np.random.Philox(key=int.from_bytes(key[:16], "little")))
        rows.append(dice.random(shape[1]))
    return (np.array(rows).reshape(shape) < density) / density
