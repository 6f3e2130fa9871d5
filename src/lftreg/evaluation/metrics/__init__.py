"""The built-in metrics: a plugin like any other. Nothing is imported before a metric is asked to measure.

Every module has its metrics in a tuple `METRICS`; the order here is that of `lftreg metrics`.
"""

from __future__ import annotations

from collections.abc import Iterable

from lftreg.evaluation.metrics import (
    code,
    consistency,
    distinct,
    exact,
    loss,
    relevance,
    rouge,
    style,
    translation,
)
from lftreg.plugins import hookimpl
from lftreg.plugins.types import Metric

MODULES = (loss, exact, rouge, translation, code, style, relevance, distinct, consistency)


@hookimpl
def lftreg_metrics() -> Iterable[Metric]:
    for module in MODULES:
        yield from module.METRICS
