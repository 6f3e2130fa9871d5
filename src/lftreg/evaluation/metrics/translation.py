"""BLEU and chrF++ of a whole corpus, by sacrebleu.

Both are functions of counts that add up over sentences. These are kept, so that the score of any of the items
costs a sum. sacrebleu has no public name for the counts of chrF; its own significance test reads them in this way.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from lftreg.evaluation.extras import extra
from lftreg.plugins.types import Measured, Metric, Outputs

TRIALS = 10_000
_SEED = 12345  # sacrebleu's, so that the same signs are drawn
_AT_ONCE = 1000
_ROUNDING = 1e-9

Make = Callable[[], Any]


def _bleu() -> Any:
    """BLEU over all answers together, as Post (2018, arXiv:1804.08771) has it.

    An item's value is that of its answer alone, by the orders of n-grams that it is long enough for.
    """
    # force: that answers look tokenized is nothing to warn of here
    return extra("sacrebleu.metrics").BLEU(force=True)


def _sentence_bleu() -> Any:
    return extra("sacrebleu.metrics").BLEU(force=True, effective_order=True)


def _chrf() -> Any:
    """chrF++ over all answers together (Popović 2017): n-grams of up to six characters and of up to two words."""
    return extra("sacrebleu.metrics").CHRF(word_order=2)


def _measure(corpus: Make, sentence: Make) -> Callable[[Outputs], Measured]:
    def measure(outputs: Outputs) -> Measured:
        import numpy as np

        scorer, single = corpus(), sentence()
        counts = _counts(scorer, outputs)
        values = tuple(
            _score(single, row) if reference else None
            for row, reference in zip(counts, outputs.references, strict=True)
        )

        def total(places: Any) -> float:
            return _score(scorer, counts[places].sum(axis=0)) if np.size(places) else math.nan

        return Measured(values, total, signature=str(scorer.get_signature()))

    measure.__doc__ = corpus.__doc__
    return measure


def _test(corpus: Make) -> Callable[[Outputs, Outputs], float]:
    def test(one: Outputs, other: Outputs) -> float:
        """The p-value by approximate randomization (Noreen 1989; Riezler and Maxwell 2005), two-sided.

        Each trial swaps the answers of half of the items. A trial counts if it is as far apart as what was
        seen, ties included. sacrebleu's own test leaves ties out, and then calls one changed answer significant.
        """
        import numpy as np

        scorer = corpus()
        first, second = _counts(scorer, one), _counts(scorer, other)
        both = (first + second).sum(axis=0)

        def apart(counts: Any) -> float:
            return abs(_score(scorer, counts) - _score(scorer, both - counts))

        seen, reached = apart(first.sum(axis=0)) - _ROUNDING, 0
        random = np.random.default_rng(_SEED)
        for _ in range(TRIALS // _AT_ONCE):
            swapped = random.integers(2, size=(_AT_ONCE, len(one)), dtype=bool)
            reached += sum(apart(row) >= seen for row in swapped @ (first - second) + second.sum(axis=0))
        return (reached + 1) / (TRIALS + 1)

    return test


def _counts(scorer: Any, outputs: Outputs) -> Any:
    """What the score of a corpus is made of: integers (n, counts), zero for items without a reference."""
    import numpy as np

    counts = np.array(scorer._extract_corpus_statistics(outputs.answers, [outputs.references]), np.int64)
    counts[[not reference for reference in outputs.references]] = 0
    return counts


def _score(scorer: Any, counts: Any) -> float:
    """The score of summed counts, 0 to 100."""
    return float(scorer._compute_score_from_stats(counts.tolist()).score)


METRICS = (
    Metric(
        "bleu",
        "N-grams that the answers share with the references, over the whole suite (sacrebleu).",
        _measure(_bleu, _sentence_bleu),
        unit="points",
        test=_test(_bleu),
    ),
    Metric(
        "chrf",
        "chrF++: characters and words that the answers share with the references (sacrebleu).",
        _measure(_chrf, _chrf),
        unit="points",
        test=_test(_chrf),
    ),
)
