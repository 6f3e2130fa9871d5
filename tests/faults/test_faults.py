"""Every fault that users of other trainers complain of: caught before the first step, or made right."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from lftreg.registry import Registry
from tests.conftest import Tiny
from tests.faults.cases import CASES
from tests.faults.kinds import Case
from tests.faults.runs import PLUGIN
from tests.faults.seen import put_to_lftreg

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("case", [pytest.param(case, id=case.name.replace(" ", "-")) for case in CASES])
def test_fault(
    case: Case, tmp_path: Path, tiny: Tiny, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    setup = case.build(tmp_path, tiny)
    if setup.site is not None:
        monkeypatch.syspath_prepend(setup.site)
        monkeypatch.setenv("LFTREG_PLUGINS", "lftreg-faults")
        monkeypatch.setitem(sys.modules, PLUGIN, None)  # so that it is forgotten in the end
        del sys.modules[PLUGIN]
    if case.expect is not None and case.expect.when == "plan":
        dry = put_to_lftreg(case, setup, registry, "--dry-run")
        assert dry.code == case.expect.code, dry
    ended = put_to_lftreg(case, setup, registry)
    if case.expect is None:
        assert ended.seen is not None, ended
        assert case.holds is not None
        assert case.holds(ended.seen, setup) is None
        return
    assert (ended.code, ended.exit) == (case.expect.code, case.expect.exit), ended
    assert re.search(case.expect.says, ended.message)
    assert ended.hint
    assert case.is_clear(f"{ended.message}; {ended.hint}")
    assert registry.list() == []


def test_the_cases_have_names_of_their_own() -> None:
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 32
    assert all(case.complaint and (case.expect or case.holds) for case in CASES)
