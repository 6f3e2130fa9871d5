"""pass@k: the estimator against counting by hand, and real code that is really run."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations

import pytest

from lftreg.evaluation import running
from lftreg.evaluation.metrics import lftreg_metrics
from lftreg.evaluation.metrics.code import METRICS, pass_at, pass_at_1, pass_at_k
from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Outputs

TESTS = "assert double(2) == 4"
RIGHT = "```python\ndef double(x):\n    return 2 * x\n```"
WRONG = "def double(x):\n    return x"


def outputs(answers: tuple[str, ...], tests: tuple[str, ...], **more: object) -> Outputs:
    blank = ("",) * len(tests)
    made = Outputs(blank, blank, answers, blank, tests=tests, allow_code_execution=True)
    return replace(made, **more)  # type: ignore[arg-type]


def test_the_estimate_is_the_share_of_all_choices_of_k_samples_that_hold_one_that_passed() -> None:
    for n in range(1, 8):
        for c in range(n + 1):
            for k in range(1, n + 1):
                chosen = list(combinations([True] * c + [False] * (n - c), k))
                assert pass_at(k, n, c) == pytest.approx(sum(map(any, chosen)) / len(chosen))


@pytest.mark.parametrize(("k", "n", "c"), [(0, 3, 1), (4, 3, 1), (1, 3, 4), (1, 3, -1), (1, 0, 0)])
def test_what_cannot_be_estimated_is_refused(k: int, n: int, c: int) -> None:
    with pytest.raises(ValueError, match="pass@"):
        pass_at(k, n, c)


def test_large_numbers_of_samples_keep_their_precision() -> None:
    assert pass_at(100, 1000, 1) == pytest.approx(0.1)
    assert 0 < pass_at(1, 10**6, 1) < 1e-5


def test_an_answer_passes_or_not_and_one_without_tests_has_no_value() -> None:
    found = pass_at_1(outputs((RIGHT, WRONG, "Sorry, no.", RIGHT), (TESTS, TESTS, TESTS, "")))
    assert found.values == (1.0, 0.0, 0.0, None)
    assert found.measurable
    assert "not a security sandbox" in found.note
    assert "1 failed-assert" in found.note
    assert "1 no-code" in found.note


def test_samples_are_counted_for_each_item() -> None:
    samples = ((RIGHT, WRONG, WRONG), (WRONG,) * 3, (RIGHT,) * 3, (RIGHT,) * 3)
    found = pass_at_k(outputs((WRONG,) * 4, (TESTS, TESTS, TESTS, ""), samples=samples))
    assert found.values == (1.0, 0.0, 1.0, None)
    assert found.signature.startswith("k=3 n=3 ")
    means = re.findall(r"pass@(\d) ([\d.]+)%", found.note)
    assert [int(k) for k, _ in means] == [1, 2, 3]
    expected = [sum(pass_at(k, 3, c) for c in (1, 0, 3)) / 3 for k in (1, 2, 3)]
    assert [float(mean) for _, mean in means] == pytest.approx([100 * mean for mean in expected], abs=0.05)


def test_k_is_the_fewest_samples_of_an_item_with_tests() -> None:
    samples = ((RIGHT, WRONG, WRONG, WRONG), (RIGHT, WRONG), ())
    found = pass_at_k(outputs((WRONG,) * 3, (TESTS, TESTS, ""), samples=samples))
    assert found.values == (pytest.approx(pass_at(2, 4, 1)), 1.0, None)


@pytest.mark.parametrize("measure", [pass_at_1, pass_at_k])
def test_nothing_runs_unless_it_is_allowed(
    measure: Callable[[Outputs], Measured], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "check_many", lambda pairs: pytest.fail("it was run"))
    asked = outputs((RIGHT,), (TESTS,), samples=((RIGHT,),), allow_code_execution=False)
    found = measure(asked)
    assert found.values == (None,)
    assert not found.measurable
    assert found.note == "needs --allow-code-execution: it runs what the model wrote"


def test_suites_without_tests_have_no_values() -> None:
    assert pass_at_1(outputs((RIGHT,), ("",))).values == (None,)
    assert pass_at_k(outputs((RIGHT,), ("",), samples=((RIGHT,),))).values == (None,)


def test_what_was_run_once_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []
    run = running.check_many

    def count(pairs: list[tuple[str, str]]) -> list[running.Outcome]:
        ran.extend(pairs)
        return run(pairs)

    monkeypatch.setattr(running, "check_many", count)
    asked = outputs((f"{RIGHT}\n", RIGHT, WRONG), (f"{TESTS} # once",) * 3)
    first = pass_at_1(asked)
    assert len(ran) == 2
    assert pass_at_1(asked) == first
    assert len(ran) == 2


def test_the_metrics_are_offered_and_say_what_they_need() -> None:
    needs = {metric.name: metric.needs for metric in METRICS}
    assert needs == {"pass_at_1": ("tests",), "pass_at_k": ("tests", "samples")}
    assert all(metric.better == "higher" and metric.unit == "share" for metric in METRICS)
    assert set(METRICS) <= set(lftreg_metrics())


@pytest.mark.slow
def test_of_the_built_in_domain_the_references_pass_and_functions_that_give_nothing_back_fail() -> None:
    rows = list(Host(off=(), external=False).domain("code_generation").build("validation", 0))[:30]
    silent = [re.sub(r"(?m)^( +)return .*$", r"\1return None", row.response) for row in rows]
    changed = [place for place, row in enumerate(rows) if silent[place] != row.response]
    assert len(changed) > 10
    tests = tuple(row.tests for row in rows)
    assert pass_at_1(outputs(tuple(row.response for row in rows), tests)).values == (1.0,) * len(rows)
    found = pass_at_1(outputs(tuple(silent), tests)).values
    assert [found[place] for place in changed] == [0.0] * len(changed)
