"""KnOTS (Stoica et al. 2024, arXiv 2410.19735): parents aligned by one SVD of all, then TIES on what is left."""

from __future__ import annotations

from lftreg.composer.core_space import core_space, elected, trimmed
from lftreg.composer.layers import Pair, Stack
from lftreg.composer.lowrank import product
from lftreg.composer.options import Density, Sign
from lftreg.plugins.types import Method


def knots(stack: Stack, *, density: Density = 0.5, majority_sign_method: Sign = "total") -> Pair:
    """[D1 ... DN] = U s [V1 ... VN]^T, from the factors; the V are merged by TIES, U and s are everybody's.

    In the basis of the core space, D_i = Q C_i V^T with Q^T Q = 1, so the SVD is that of [C1 ... CN].
    """
    import numpy as np

    space = core_space(stack)
    cores = space.cores()
    u, s, _ = np.linalg.svd(np.hstack(cores), full_matrices=False)
    kept = s > 1e-7 * s.max(initial=0.0)
    u, s = u[:, kept], s[kept]
    aligned = []
    for core in cores:
        wide = (u.T @ core / s[:, None]) @ space.to_v  # (k, R), of the stack's rows of A
        aligned.append(trimmed(wide @ stack.a.astype(np.float64), density))
    merged = elected(aligned, [part.weight for part in stack.parts], majority_sign_method)
    left = product(stack.b, space.to_u @ (u * s), np.zeros((0, stack.c.size)), stack.a)
    return Pair(left.b, merged.astype(np.float32))


METHODS = (
    Method(
        "knots",
        "KnOTS: the parents turned into one basis by an SVD of all, there merged by TIES.",
        mix=knots,
        needs=("several-parents",),
        truncates=True,
        error="what conflicts is left out: 0.2 to 0.7",
        cost="ten times copying the parents",
    ),
)
