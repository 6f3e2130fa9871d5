"""pass@1 and pass@k: whether the code in an answer passes its tests. It is run, so only where that is allowed.

The estimator is of Chen et al. 2021, "Evaluating Large Language Models Trained on Code", arXiv 2107.03374.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from functools import cache
from math import comb
from typing import TYPE_CHECKING

from lftreg.plugins.types import Measured, Metric, Outputs

if TYPE_CHECKING:
    from lftreg.evaluation.running import Outcome

FORBIDDEN = "needs --allow-code-execution: it runs what the model wrote"
CAREFUL = "runs what the model wrote under limits; not a security sandbox"


def pass_at(k: int, n: int, c: int) -> float:
    """An unbiased estimate of the chance that one of `k` samples passes, where `c` of `n` did: 1 - C(n-c, k) / C(n, k).

    Raises ValueError unless 1 <= k <= n and 0 <= c <= n.
    """
    if not (1 <= k <= n and 0 <= c <= n):
        raise ValueError(f"no pass@{k} of {n} samples of which {c} passed")
    return 1 - comb(n - c, k) / comb(n, k)


def pass_at_1(outputs: Outputs) -> Measured:
    """Whether the answer passes: 1 or 0. None where an item has no tests."""
    if refused := _refused(outputs):
        return refused
    outcomes = _outcomes([(answer,) for answer in outputs.answers], outputs.tests)
    values = tuple(float(found[0].passed) if found else None for found in outcomes)
    return Measured(values, note=_note(outcomes), signature=_signature(1, 1))


def pass_at_k(outputs: Outputs) -> Measured:
    """Whether one of the samples passes: k is the fewest that an item with tests has. None where it has no tests.

    The note tells of each smaller k, which all n samples estimate better than k of them would.
    """
    if refused := _refused(outputs):
        return refused
    outcomes = _outcomes(outputs.samples, outputs.tests)
    numbers = [len(found) for found in outcomes if found]
    if not numbers:
        return Measured((None,) * len(outputs))
    k = min(numbers)
    counts = [(len(found), sum(each.passed for each in found)) if found else None for found in outcomes]
    values = tuple(pass_at(k, *count) if count else None for count in counts)
    curve = ", ".join(
        f"pass@{fewer} {sum(pass_at(fewer, *count) for count in counts if count) / len(numbers):.1%}"
        for fewer in range(1, k + 1)
    )
    return Measured(values, note=f"{curve}; {_note(outcomes)}", signature=_signature(k, max(numbers)))


def _refused(outputs: Outputs) -> Measured | None:
    if outputs.allow_code_execution:
        return None
    return Measured((None,) * len(outputs), note=FORBIDDEN, measurable=False)


def _outcomes(answers: Sequence[Sequence[str]], tests: Sequence[str]) -> list[list[Outcome]]:
    """Of each item how its answers did; nothing where it has no tests. What was run before is not run again."""
    from lftreg.evaluation.running import check_many, code_of

    tests = tests or ("",) * len(answers)
    pairs = [
        [(code_of(answer), test) for answer in given] if test.strip() else []
        for given, test in zip(answers, tests, strict=True)
    ]
    known = _known()
    fresh = [pair for pair in dict.fromkeys(pair for item in pairs for pair in item) if pair not in known]
    known.update(zip(fresh, check_many(fresh), strict=True))
    return [[known[pair] for pair in item] for item in pairs]


@cache
def _known() -> dict[tuple[str, str], Outcome]:
    """What this process has found out: the base's answers are judged beside each adapter's."""
    return {}


def _note(outcomes: Sequence[Sequence[Outcome]]) -> str:
    """How the code that failed did so, the most frequent first, and what running it is not."""
    from lftreg.evaluation.running import unguarded

    reasons = Counter(each.reason for found in outcomes for each in found if not each.passed)
    told = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
    return "; ".join(part for part in (told, CAREFUL, unguarded()) if part)


def _signature(k: int, n: int) -> str:
    from lftreg.evaluation.running import MEMORY, SECONDS

    version = ".".join(map(str, sys.version_info[:2]))
    return f"k={k} n={n} seconds={SECONDS:g} memory={MEMORY // 2**20}MiB python={version}"


METRICS: tuple[Metric, ...] = (
    Metric(
        "pass_at_1",
        "The share of answers whose code passes its tests.",
        pass_at_1,
        needs=("tests",),
    ),
    Metric(
        "pass_at_k",
        "The chance that one of k samples passes its tests, k the number of samples.",
        pass_at_k,
        needs=("tests", "samples"),
    ),
)
RUNS_CODE = frozenset(metric.name for metric in METRICS)
