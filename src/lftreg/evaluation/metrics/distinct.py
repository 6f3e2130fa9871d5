"""How varied the answers are among themselves: what shows an adapter that says the same to everything."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lftreg.evaluation.metrics.texts import words
from lftreg.plugins.types import Measured, Metric, Outputs

NOTE = "falls as a suite grows: compare on the same items only"


def _measure(order: int) -> Callable[[Outputs], Measured]:
    def distinct(outputs: Outputs) -> Measured:
        """Distinct n-grams of all answers over the number of their words (Li et al. 2016, arXiv:1510.03055).

        An item's value is that of its answer alone; None for an answer without words.
        """
        import numpy as np

        known: dict[tuple[str, ...], int] = {}
        lengths, grams = [], []
        for answer in outputs.answers:
            said = words(answer)
            lengths.append(len(said))
            found = zip(*(said[start:] for start in range(order)), strict=False)
            grams.append(np.array([known.setdefault(gram, len(known)) for gram in found], np.int64))
        sizes = np.array(lengths)

        def total(places: Any) -> float:
            size = int(sizes[places].sum())
            if not size:
                return math.nan
            seen = np.bincount(np.concatenate([grams[place] for place in places]))
            return np.count_nonzero(seen) / size

        values = tuple(
            len({*row.tolist()}) / size if size else None for row, size in zip(grams, lengths, strict=True)
        )
        return Measured(values, total, NOTE)

    return distinct


METRICS = (
    Metric(
        "distinct_1",
        "Distinct words among all words of the answers: low where it repeats itself.",
        _measure(1),
        needs=(),
        better=None,
    ),
    Metric(
        "distinct_2",
        "Distinct pairs of words among all words of the answers.",
        _measure(2),
        needs=(),
        better=None,
    ),
)
