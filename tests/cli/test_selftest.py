"""`lftreg serve --selftest`, as somebody runs it before a server goes to work."""

from __future__ import annotations

import pytest

from lftreg import Registry
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from tests.serving.adapters import put

from .conftest import Lftreg

pytestmark = pytest.mark.slow


def test_it_asks_what_is_registered(lftreg: Lftreg, registry: Registry) -> None:
    loaded = load_base(find_base("starter", registry))
    for n in range(3):
        put(registry, loaded, f"a{n}", n)
    document = lftreg("serve", "--selftest", "20", "--json", "--slots", "2").document
    assert (document["requests"], document["wrong"], document["failed"]) == (20, [], 0)
    assert document["answered"] + document["cancelled"] == 20
    assert sorted(document["adapters"]) == ["a0@1", "a1@1", "a2@1"]
    assert "to 3 adapters, their sums and the base: 0 wrong answers" in lftreg("serve", "--selftest", "4").out


def test_there_has_to_be_an_adapter(lftreg: Lftreg) -> None:
    error = lftreg("serve", "--selftest", "--json", code=3).error
    assert error["code"] == "nothing-to-test"
