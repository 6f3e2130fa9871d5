"""How far a composition is from the weighted sum of its parents, measured on the file that was written.

For every layer the result B A is compared with the sum of w s B A over the parents. Side by side the
factors make one tall and one wide matrix, whose product is the difference; its norm is that of the
product of their triangular factors, as small as the ranks together. So no layer is ever built in
full, and a difference of 1e-8 is measured, not drowned: a QR keeps sixteen figures of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.composer.parents import Parent, Slot

if TYPE_CHECKING:
    from torch import Tensor

    Pair = tuple[Tensor, Tensor]


def relative_error(file: Path, slots: Mapping[str, Slot], parents: Sequence[Parent]) -> float | None:
    """||result - sum|| / ||sum|| over all layers, by the Frobenius norm, in float64.

    None where the sum is zero, of which nothing can be a part.
    """
    from safetensors import safe_open

    with ExitStack() as stack:
        made = stack.enter_context(safe_open(file, framework="pt"))
        opened = [(p, stack.enter_context(safe_open(p.file, framework="pt"))) for p in parents]
        error, whole = 0.0, 0.0
        for path, slot in slots.items():
            parts = [_factors(f, p.slots[path], p.weight) for p, f in opened if path in p.slots]
            off, full = _norms(_factors(made, slot, 1.0), parts)
            error, whole = error + off**2, whole + full**2
    return math.sqrt(error / whole) if whole else (0.0 if not error else None)


def _norms(made: Pair, parts: Sequence[Pair]) -> tuple[float, float]:
    """||made - sum of parts|| and ||sum of parts||, each pair a factor (outputs, k) and one (inputs, k)."""
    import torch

    left = torch.linalg.qr(torch.hstack([-made[0], *(b for b, _ in parts)]), mode="r").R
    right = torch.linalg.qr(torch.hstack([made[1], *(a for _, a in parts)]), mode="r").R
    rank = made[0].shape[1]
    return float((left @ right.T).norm()), float((left[:, rank:] @ right[:, rank:].T).norm())


def _factors(file: Any, slot: Slot, weight: float) -> Pair:
    """B, scaled and weighted, and A transposed, in float64."""
    a, b = slot.keys
    return file.get_tensor(b).double() * (weight * slot.scale), file.get_tensor(a).double().T
