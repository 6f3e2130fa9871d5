"""Runs with a fault put into them are told by their root cause, and healthy ones raise no alarm.

The seeds are none of those that the thresholds were set on.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lftreg.advice.diagnose import diagnose, is_healthy
from lftreg.registry import Registry
from tests.advice.cases import CASES, HEALTHY, Case, run_case, run_healthy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # the first of them makes the base
SEED = 7
# `make soak` runs all of them, which takes a quarter of an hour; the suite a third.
STRIDE = 1 if os.environ.get("LFTREG_FAULTS") == "all" else 3
# A learning rate that is too high is told by either name, with the same mend.
KIN = {"diverged": {"diverged", "lr-too-high"}}


@pytest.mark.parametrize("case", CASES[::STRIDE], ids=[case.name for case in CASES[::STRIDE]])
def test_a_fault_is_the_first_that_is_told(case: Case, learned: Path, registry: Registry) -> None:
    signals = run_case(case, learned, registry, SEED)
    found = diagnose(signals)
    assert found
    assert found[0].name in KIN.get(case.expect, {case.expect}), [(one.name, one.message) for one in found]
    assert not is_healthy(found)


@pytest.mark.parametrize("number", range(0, 2 * len(HEALTHY), STRIDE))
def test_a_healthy_run_raises_no_alarm(number: int, learned: Path, registry: Registry) -> None:
    signals = run_healthy(number, learned, registry, seed=70 + number)
    assert signals.drop > 0.5
    assert [(one.name, one.message) for one in diagnose(signals) if one.severity != "note"] == []
