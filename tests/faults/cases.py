"""All fault cases, for the tests here and for benchmarks/faults.py."""

from __future__ import annotations

from tests.faults import bases, data, runs, templates
from tests.faults.kinds import Case

CASES: tuple[Case, ...] = (*data.CASES, *templates.CASES, *bases.CASES, *runs.CASES)
