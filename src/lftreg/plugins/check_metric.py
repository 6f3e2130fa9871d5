"""The rules that a metric has to keep, checked by letting it score a few made-up answers."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from numbers import Real
from typing import Any

from lftreg.errors import LftregError, Unavailable
from lftreg.plugins.offers import METRIC
from lftreg.plugins.types import Measured, Metric, Outputs

_WIDTH = 4  # of the made-up hidden states
# What an evaluation meets: an answer that is right, one that is nearly so, one that is empty, and one that is not.
_SAMPLE = Outputs(
    prompts=("What is 6 times 7?", "Who sells bread?", "Say nothing.", "Où est la gare ?"),
    references=("It is 42.", "The baker on the corner sells it.", "No.", "Tout droit, puis à gauche."),
    answers=("It is 42.", "The baker sells it.", "", "I do not know, I do not know."),
    base=("42 is", "Bread.", "Nothing to say.", ""),
    paraphrased=(("It is 42.", "42"), ("The baker.",), (), ("I do not know.", "Left.")),
    samples=(("It is 42.", "42."), ("The baker.", "Nobody."), ("", ""), ("Left.", "Right.")),
    tests=("assert True", "assert True", "assert True", "assert False"),
    nats=(3.5, 9.25, 1.0, 30.0),
    tokens=(5, 9, 3, 12),
    bytes=(9, 34, 3, 27),
)
_FIELDS: dict[str, tuple[str, ...]] = {
    "references": ("references",),
    "paraphrases": ("paraphrased",),
    "samples": ("samples",),
    "tests": ("tests",),
    "losses": ("nats", "tokens", "bytes"),
    "embeddings": ("embed",),
}


def check_metric(metric: Metric) -> list[str]:
    """What is wrong with a metric, as sentences that go on from its name; nothing if it is right.

    It is given what it says it needs and nothing else. Whatever it raises is one of the sentences: it is a stranger's
    code. Only what is not installed here is nobody's fault.
    """
    if problem := METRIC.problem(metric):
        return [f"is refused: {problem}"]
    outputs = _sample(metric)
    try:
        found, again = metric.measure(outputs), metric.measure(outputs)
        shape = _shape_problem(found, len(outputs))
        problems = [shape] if shape else [*_broken_values(metric, found, again), *_broken_total(found)]
        return [*problems, *_broken_test(metric, outputs)]
    except Unavailable:
        return []
    except (Exception, SystemExit) as error:  # noqa: BLE001 a plugin may raise anything
        cause = error.__cause__ if isinstance(error, LftregError) and error.__cause__ else error
        needs = ", ".join(metric.needs) or "nothing"
        return [f"does not score, given {needs}: {type(cause).__name__}: {cause}"]


def _sample(metric: Metric) -> Outputs:
    """The sample with the inputs that the metric asks for; the others are as an evaluation leaves them."""
    outputs = replace(_SAMPLE, embed=_embed)
    empty: dict[str, Any] = {"references": ("",) * len(outputs), "embed": None}
    left_out = {field for need, fields in _FIELDS.items() if need not in metric.needs for field in fields}
    return replace(outputs, **{field: empty.get(field, ()) for field in left_out})


def _embed(texts: Sequence[str]) -> Any:
    """Made-up hidden states, float32 (texts, width): letters counted by what they are divided by."""
    import numpy as np

    rows = [
        [1.0 + sum(ord(letter) % _WIDTH == place for letter in text) for place in range(_WIDTH)]
        for text in texts
    ]
    return np.array(rows, np.float32).reshape(len(texts), _WIDTH)


def _shape_problem(found: Any, n: int) -> str | None:
    if not isinstance(found, Measured):
        return f"gives a {type(found).__name__}, and no Measured"
    values: Any = found.values  # a stranger's dataclass may hold anything
    if not isinstance(values, tuple):
        return f"has values that are a {type(values).__name__}, not a tuple"
    if len(values) != n:
        return f"gives {len(values)} values for {n} items"
    wrong = [value for value in values if value is not None and not isinstance(value, Real)]
    return f"gives {wrong[0]!r} for an item; it is a number, or None where there is none" if wrong else None


def _broken_values(metric: Metric, found: Measured, again: Measured) -> Iterator[str]:
    known = [value for value in found.values if value is not None]
    if repr(found.values) != repr(again.values):
        yield "gives other values for the same answers"
    if any(math.isnan(value) for value in known):
        yield "gives NaN for an item; what means nothing is None"
    if metric.unit == "share" and not all(0 <= value <= 1 for value in known if not math.isnan(value)):
        yield f"is a share and gives {max(known, key=abs)!r} for an item; a share is from 0 to 1"


def _broken_total(found: Measured) -> Iterator[str]:
    """A total of all items, and of any of them: intervals ask for that."""
    import numpy as np

    if found.total is None:
        return
    for places in (range(len(found.values)), (0, 1)):
        score: Any = found.total(np.array(places))
        if not isinstance(score, Real):
            yield f"has a total of {len(places)} items that is {score!r}, and no number"
            return


def _broken_test(metric: Metric, outputs: Outputs) -> Iterator[str]:
    if metric.test is None:
        return
    p: Any = metric.test(outputs, replace(outputs, answers=outputs.base))
    if not isinstance(p, Real) or not 0 <= float(p) <= 1:
        yield f"has a test that gives {p!r}; a p-value is from 0 to 1"
