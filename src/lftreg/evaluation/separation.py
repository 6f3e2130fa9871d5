"""Whether a ruler tells apart two kinds of text of which the kind is known: what a metric states of itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeVar

from lftreg.evaluation import statistics

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

ENOUGH = 0.80  # the AUC under which a ruler is not believed
# Fewest of each kind. With 20 the standard error of an AUC of 0.80 is 0.07 (Hanley and McNeil 1982,
# doi 10.1148/radiology.143.1.7063747), so that 0.80 stands four of them above a coin's 0.50.
FEWEST = 20
NOT_MEASURABLE = "not measurable on this data"


def auc(high: np.ndarray, low: np.ndarray) -> float:
    """The chance that one of `high` scores above one of `low`, ties counted half: (n,) and (m,) to 0..1.

    The area under the ROC curve, as a Mann-Whitney statistic (Hanley and McNeil 1982). Raises ValueError where
    either is empty.
    """
    area = statistics.auc(high, low)
    if area is None:
        raise ValueError("an AUC needs scores of both kinds")
    return area


def spaced(values: Sequence[T], most: int) -> list[T]:
    """At most so many, evenly spread over all."""
    step = max(1.0, len(values) / most)
    return [values[int(at * step)] for at in range(min(len(values), most))]


def refused(why: str) -> str:
    """The note of a metric that is not to be trusted."""
    return f"{NOT_MEASURABLE}: {why}"
