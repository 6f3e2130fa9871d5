"""Whether what means the same gets the same answer: over other wordings of a prompt, and over samples of one.

ParaRel (Elazar et al. 2021, arXiv:2102.01017) counts the pairs of wordings that get the same word. For free
text Raj et al. (2022, arXiv:2211.05853) take the mean similarity of the pairs instead. So it is done here, with
ROUGE-L F1 as the similarity: it is the same both ways, which chrF is not; it knows the order of words, which a bag
of them does not; and a mean needs no threshold, which would decide the figure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import combinations

from lftreg.evaluation.metrics.texts import sequence_f1
from lftreg.plugins.types import Measured, Metric, Outputs

NOTE = 'to answer "yes" to everything scores 100%: read it beside an accuracy and distinct_1'
_SIGNATURE = "rougeL-f1|pairs:mean"


def response_consistency(outputs: Outputs) -> Measured:
    """The mean agreement (ROUGE-L F1) of all pairs among the answers to a prompt and to its other wordings.

    To answer "yes" to everything scores 100%: read it beside an accuracy and distinct_1.
    """
    groups = ((answer, *others) for answer, others in zip(outputs.answers, outputs.paraphrased, strict=True))
    return _agreement(groups)


def sample_consistency(outputs: Outputs) -> Measured:
    """The mean agreement (ROUGE-L F1) of all pairs among the answers that were drawn for one prompt.

    To answer "yes" to everything scores 100%: read it beside an accuracy and distinct_1.
    """
    return _agreement(outputs.samples)


def _agreement(groups: Iterable[Sequence[str]]) -> Measured:
    return Measured(tuple(_mean_of_pairs(group) for group in groups), note=NOTE, signature=_SIGNATURE)


def _mean_of_pairs(answers: Sequence[str]) -> float | None:
    """From 0 to 1; None of less than two answers, which can neither agree nor disagree."""
    pairs = [sequence_f1(one, other) for one, other in combinations(answers, 2)]
    return sum(pairs) / len(pairs) if pairs else None


METRICS = (
    Metric(
        "response_consistency",
        "How alike the answers to several wordings of one prompt are.",
        response_consistency,
        needs=("paraphrases",),
    ),
    Metric(
        "sample_consistency",
        "How alike the answers drawn for one prompt at a temperature are.",
        sample_consistency,
        needs=("samples",),
    ),
)
