"""How well the references are foretold: perplexity, and the same for bytes, which any tokenizer shares."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lftreg.plugins.types import Measured, Metric, Outputs

_LN2 = math.log(2)


def perplexity(outputs: Outputs) -> Measured:
    """exp of the nats a token, the stop token included (Jelinek et al. 1977). Every token counts the same."""

    def of(nats: Any, tokens: Any) -> Any:
        import numpy as np

        with np.errstate(over="ignore"):  # beyond float64 it is infinite, which is what it should say
            return np.exp(nats / tokens)

    return _a_piece(of, outputs.nats, outputs.tokens)


def bits_per_byte(outputs: Outputs) -> Measured:
    """Bits of loss a byte of UTF-8 (Gao et al. 2020, arXiv:2101.00027)."""
    return _a_piece(lambda nats, size: nats / _LN2 / size, outputs.nats, outputs.bytes)


def _a_piece(of: Any, nats: Sequence[float | None], pieces: Sequence[int]) -> Measured:
    """`of(summed nats, summed pieces)` by item and of many; None for a reference that is empty or too long.

    A loss that is no number counts as infinite: an item must not be won by failing on it.
    """
    import numpy as np

    losses = np.array([0.0 if loss is None else loss for loss in nats], float)
    sizes = np.array([0 if loss is None else size for loss, size in zip(nats, pieces, strict=True)], float)
    losses[np.isnan(losses)] = np.inf
    losses[sizes == 0] = 0.0
    values = tuple(float(of(loss, size)) if size else None for loss, size in zip(losses, sizes, strict=True))

    def total(places: Any) -> float:
        size = sizes[places].sum()
        return float(of(losses[places].sum(), size)) if size else math.nan

    return Measured(values, total)


METRICS = (
    Metric(
        "perplexity",
        "How surprised it is by each token of the references, the stop token included.",
        perplexity,
        needs=("losses",),
        better="lower",
        unit="number",
    ),
    Metric(
        "bits_per_byte",
        "The same loss a byte of the references: comparable between tokenizers.",
        bits_per_byte,
        needs=("losses",),
        better="lower",
        unit="number",
    ),
)
