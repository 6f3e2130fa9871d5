"""Answers that are the reference, and answers that share its words."""

from __future__ import annotations

import re
import string
from collections import Counter

from lftreg.evaluation.metrics.texts import by_reference, f1
from lftreg.plugins.types import Measured, Metric, Outputs

_ARTICLE = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)


def exact_match(outputs: Outputs) -> Measured:
    """1 where answer and reference are equal once white space is trimmed and collapsed. Case counts."""
    return Measured(
        by_reference(outputs, lambda answer, reference: float(answer.split() == reference.split())),
        signature="space:collapsed|case:mixed",
    )


def token_f1(outputs: Outputs) -> Measured:
    """F1 of the words, in any order, as SQuAD counts it (Rajpurkar et al. 2016, arXiv:1606.05250).

    In lower case, without ASCII punctuation and the English articles. A reference of nothing else is matched by an
    answer of nothing else.
    """
    return Measured(by_reference(outputs, _shared), signature="case:lc|punctuation:no|articles:no")


def _shared(answer: str, reference: str) -> float:
    one, other = _plain(answer), _plain(reference)
    if not one or not other:
        return float(one == other)
    return f1((Counter(one) & Counter(other)).total(), len(one), len(other))


def _plain(text: str) -> list[str]:
    return _ARTICLE.sub(" ", text.lower().translate(_PUNCTUATION)).split()


METRICS = (
    Metric("exact_match", "Answers that are the reference, but for white space.", exact_match),
    Metric("token_f1", "Words that answer and reference share, in any order, as SQuAD counts.", token_f1),
)
