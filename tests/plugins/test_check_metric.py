"""The check for authors finds every rule that a metric can break."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from lftreg import testing
from lftreg.errors import Unavailable
from lftreg.plugins.check_metric import check_metric
from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Metric, Outputs

COUNTER = itertools.count()


def of(value: Any) -> Callable[[Outputs], Measured]:
    """A measure that gives this for every item."""
    return lambda outputs: Measured((value,) * len(outputs))


def total(score: Any) -> Callable[[Outputs], Measured]:
    return lambda outputs: Measured((0.5,) * len(outputs), lambda places: score)


def _raising(outputs: Outputs) -> Measured:
    raise KeyError("judge")


def _exiting(outputs: Outputs) -> Measured:
    raise SystemExit(1)


@pytest.mark.parametrize(
    ("measure", "problem"),
    [
        (of(1.5), "is a share and gives 1.5 for an item; a share is from 0 to 1"),
        (of(-0.1), "is a share and gives -0.1 for an item; a share is from 0 to 1"),
        (of(float("nan")), "gives NaN for an item; what means nothing is None"),
        (of("good"), "gives 'good' for an item; it is a number, or None where there is none"),
        (lambda outputs: Measured((next(COUNTER) % 9 / 9,) * 4), "gives other values for the same answers"),
        (lambda outputs: (1.0,) * 4, "gives a tuple, and no Measured"),
        (lambda outputs: Measured([1.0] * 4), "has values that are a list, not a tuple"),
        (lambda outputs: Measured((1.0,)), "gives 1 values for 4 items"),
        (total(None), "has a total of 4 items that is None, and no number"),
        (
            lambda outputs: Measured((0.0,) * 4, lambda places: 1.0 if len(places) == 4 else "none"),
            "has a total of 2 items that is 'none', and no number",
        ),
        (_raising, "does not score, given references: KeyError: 'judge'"),
        (_exiting, "does not score, given references: SystemExit: 1"),
    ],
)
def test_a_broken_rule_is_named(measure: Any, problem: str) -> None:
    assert check_metric(Metric("bad", "s", measure)) == [problem]
    with pytest.raises(AssertionError, match="metric 'bad' breaks a rule"):
        testing.check_metric(Metric("bad", "s", measure))


@pytest.mark.parametrize("value", [1.0, 0, True, None, np.float32(0.5), np.int64(1)])
def test_a_number_of_any_kind_is_good(value: Any) -> None:
    assert check_metric(Metric("good", "s", of(value))) == []
    assert check_metric(Metric("good", "s", total(np.float64(3)))) == []
    testing.check_metric(Metric("good", "s", of(value)))


def test_a_share_is_one_and_points_need_not_be() -> None:
    assert check_metric(Metric("good", "s", of(55.0), unit="points")) == []


@pytest.mark.parametrize(
    ("need", "read"),
    [
        ("references", lambda o: [float(bool(text)) for text in o.references if text]),
        ("paraphrases", lambda o: [float(len(texts) > 9) for texts in o.paraphrased]),
        ("samples", lambda o: [float(len(texts) > 9) for texts in o.samples]),
        ("tests", lambda o: [float("assert" in text) for text in o.tests]),
        ("losses", lambda o: [0.1 * a / b / c for a, b, c in zip(o.nats, o.tokens, o.bytes, strict=True)]),
        ("embeddings", lambda o: [float(row.shape == (4,)) for row in o.embed(o.answers)]),
    ],
)
def test_what_is_read_has_to_be_asked_for(need: Any, read: Callable[[Outputs], list[float]]) -> None:
    def measure(outputs: Outputs) -> Measured:
        return Measured(tuple(read(outputs)))

    assert check_metric(Metric("good", "s", measure, needs=(need,))) == []
    (problem,) = check_metric(Metric("bad", "s", measure, needs=()))
    assert "0 values for 4 items" in problem or "given nothing: TypeError" in problem


@pytest.mark.parametrize("p", [1.5, -0.1, None, float("nan")])
def test_a_p_value_is_from_0_to_1(p: Any) -> None:
    (problem,) = check_metric(Metric("bad", "s", of(1.0), test=lambda one, other: p))
    assert problem == f"has a test that gives {p!r}; a p-value is from 0 to 1"
    assert check_metric(Metric("good", "s", of(1.0), test=lambda one, other: 0.5)) == []


def test_what_is_not_installed_is_nobodys_fault() -> None:
    def measure(outputs: Outputs) -> Measured:
        raise Unavailable("no judge here")

    assert check_metric(Metric("good", "s", measure)) == []
    assert check_metric(Metric("bad", "", measure)) == ["is refused: it has no summary"]


@pytest.mark.parametrize("name", Host(external=False).metrics())
def test_the_built_in_ones_keep_the_rules(name: str) -> None:
    assert check_metric(Host(external=False).metric(name)) == []
