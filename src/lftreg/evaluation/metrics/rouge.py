"""ROUGE (Lin 2004) by the package rouge-score."""

from __future__ import annotations

from collections.abc import Callable

from lftreg.evaluation.extras import extra
from lftreg.evaluation.metrics.texts import by_reference, words
from lftreg.plugins.types import Measured, Metric, Outputs


class _Words:
    """The package's own tokenizer drops all but a-z and 0-9, so that no other script has words."""

    def tokenize(self, text: str) -> list[str]:
        return words(text)


def _measure(kind: str) -> Callable[[Outputs], Measured]:
    def rouge(outputs: Outputs) -> Measured:
        """ROUGE F1 (Lin 2004), 0 to 1.

        Words are runs of letters and figures of any script, in lower case, not stemmed.
        """
        scorer = extra("rouge_score.rouge_scorer").RougeScorer([kind], tokenizer=_Words())

        def score(answer: str, reference: str) -> float:
            return float(scorer.score(reference, answer)[kind].fmeasure)

        return Measured(by_reference(outputs, score), signature=f"{kind}|f1|stem:no|case:lc|words:unicode")

    return rouge


METRICS = (
    Metric("rouge_1", "Words that answer and reference share (F1).", _measure("rouge1")),
    Metric(
        "rouge_l", "The longest sequence of words that answer and reference share (F1).", _measure("rougeL")
    ),
)
