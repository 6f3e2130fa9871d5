"""The best matrix of a given rank, from the factors of a sum and never from the sum itself.

A pair b diag(c) a of inner size k has all that there is to decompose in a k x k core: with b^T b =
Sb^T Sb and a a^T = Sa^T Sa, the singular values of the pair are those of M = Sb diag(c) Sa^T (Eckart and
Young 1936 then say which to keep). If M = U s V^T, the kept part is b P Q a with P = diag(c) Sa^T V s^-1/2
and Q = s^-1/2 U^T Sb diag(c): no inverse of a Gram matrix, so directions that two parents share cost nothing.

Above EXACT_UP_TO the core is found in a random sketch (Halko, Martinsson and Tropp 2011, algorithm 4.4 with
two power iterations), seeded by the layer's own path; what is lost is measured, not estimated.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lftreg.composer.layers import Grams, Pair, grams_of

if TYPE_CHECKING:
    import numpy as np

    from lftreg.composer.layers import Doubles, Floats

EXACT_UP_TO = 512  # inner size of a pair; beyond it a k x k decomposition takes longer than a sketch
OVERSAMPLED = 16  # columns of the sketch beyond the rank that is asked for
POWERS = 2
SMALL = 1 << 18  # numbers of a layer up to which sixteen figures cost nothing


@dataclass(frozen=True, slots=True)
class Spectrum:
    """Singular values of a layer's update, falling, and its squared Frobenius norm.

    Of a sketch these are the leading values only, and `energy` counts the rest too.
    """

    values: Doubles
    energy: float

    def lost(self, rank: int) -> float:
        """The squared Frobenius norm of what the best matrix of this rank leaves out."""
        if self.complete:
            return float((self.values[rank:] ** 2).sum())
        return max(0.0, self.energy - float((self.values[:rank] ** 2).sum()))

    @property
    def complete(self) -> bool:
        return abs(self.energy - float((self.values**2).sum())) <= 1e-12 * self.energy


@dataclass(frozen=True, slots=True)
class Core:
    """A decomposed pair: b @ left[:, :r] @ right[:r] @ a is its best approximation of rank r."""

    spectrum: Spectrum
    left: Doubles
    right: Doubles


def decompose(grams: Grams, c: Doubles) -> Core:
    """The core of a pair from its Gram matrices, in O(k^3). Singular values are good to 1e-8 of the largest."""
    import numpy as np

    balance = _balance(grams)
    sb = _root(grams.b * np.outer(balance, balance))
    sa = _root(grams.a / np.outer(balance, balance))
    u, s, vt = np.linalg.svd((sb * c) @ sa.T)
    if not s.size:  # nothing spans nothing
        return Core(Spectrum(s, 0.0), np.zeros((len(c), 0)), np.zeros((0, len(c))))
    roots = np.zeros_like(s)
    np.divide(1.0, np.sqrt(s), out=roots, where=s > 1e-15 * s[0])
    left = (balance * c)[:, None] * (sa.T @ vt.T) * roots
    right = roots[:, None] * (u.T @ sb) * (c / balance)
    return Core(Spectrum(s, float((s**2).sum())), left, right)


def spectrum_of(grams: Grams, c: Doubles) -> Spectrum:
    """The singular values of a pair and nothing else, in half the time of its core."""
    import numpy as np

    balance = _balance(grams)
    sb = _root(grams.b * np.outer(balance, balance)) * c
    squares = np.linalg.eigvalsh(sb @ (grams.a / np.outer(balance, balance)) @ sb.T)
    squares = np.clip(squares[::-1], 0, None)
    return Spectrum(np.sqrt(squares), float(squares.sum()))


def truncate(pair: Pair, core: Core, rank: int) -> Pair:
    """The best pair of at most this rank."""
    kept = min(rank, core.left.shape[1])
    left, right = core.left[:, :kept], core.right[:kept]
    return product(pair.b, left, right, pair.a)


def product(b: Floats, left: Doubles, right: Doubles, a: Floats) -> Pair:
    """b left and right a, multiplied in float64 where that costs nothing; in float32 they are good to 1e-7."""
    import numpy as np

    if b.size + a.size <= SMALL:
        return Pair(
            (b.astype(np.float64) @ left).astype(np.float32),
            (right @ a.astype(np.float64)).astype(np.float32),
        )
    return Pair(b @ left.astype(np.float32), right.astype(np.float32) @ a)


def cut(pair: Pair, rank: int, path: str, grams: Grams | None = None) -> tuple[Pair, Spectrum]:
    """The best pair of at most `rank`, exactly or by a sketch, and the spectrum that says what was lost.

    `grams` spares the time where they are known already. `path` seeds the sketch.
    """
    import numpy as np

    c = np.ones(pair.rank) if pair.c is None else pair.c
    sketched = pair.rank > max(EXACT_UP_TO, 2 * (rank + OVERSAMPLED))
    if not sketched:
        core = decompose(grams or grams_of(pair.b, pair.a), c)
        return truncate(pair, core, rank), core.spectrum
    return _sketch(pair.b, c, pair.a, rank, path)


def _sketch(b: Floats, c: Doubles, a: Floats, rank: int, path: str) -> tuple[Pair, Spectrum]:
    import numpy as np

    scaled = a * c.astype(np.float32)[:, None]
    seed = int.from_bytes(hashlib.sha256(path.encode()).digest()[:8], "little")
    dice = np.random.Generator(np.random.Philox(seed))
    y = b @ (scaled @ dice.standard_normal((a.shape[1], rank + OVERSAMPLED), np.float32))
    for _ in range(POWERS):
        z = np.linalg.qr(((np.linalg.qr(y).Q.T @ b) @ scaled).T).Q
        y = b @ (scaled @ z)
    q = np.linalg.qr(y).Q
    qa, ra = np.linalg.qr(((q.T @ b) @ scaled).T)
    u, s, vt = np.linalg.svd(ra.T.astype(np.float64))
    root = np.sqrt(s[:rank])
    made = Pair(
        np.ascontiguousarray((q @ u[:, :rank]) * root, np.float32),
        np.ascontiguousarray(root[:, None] * (vt[:rank] @ qa.T), np.float32),
    )
    energy = float(np.einsum("ij,ij->", b.T @ b, scaled @ scaled.T, dtype=np.float64))
    return made, Spectrum(s, max(energy, float((s**2).sum())))


def _balance(grams: Grams) -> Doubles:
    """What to multiply a column of b with, and divide a row of a by, so that both are of one length.

    A pair may hold 1e6 times as much in one factor as in the other; squared, that is all its figures.
    """
    import numpy as np

    b, a = np.diag(grams.b), np.diag(grams.a)
    balance = np.ones_like(b)
    both = (b > 0) & (a > 0)
    np.sqrt(np.sqrt(np.divide(a, b, out=balance, where=both)), out=balance)
    return np.where(both, balance, 1.0)


def _root(gram: Doubles) -> Doubles:
    """S with S^T S = gram, for a matrix that is symmetric and not negative."""
    import numpy as np

    values, vectors = np.linalg.eigh(gram)
    root: np.ndarray = np.sqrt(np.clip(values, 0, None))[:, None] * vectors.T
    return root
