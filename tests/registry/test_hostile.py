"""Hostile inputs 63 to 73 through the public API: refused by name, with no row and no file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg.errors import InvalidData, InvalidName, InvalidReference, UsageError
from lftreg.registry import Draft, Registry, parse_ref

Make = Callable[..., Draft]
NAMES = {
    "63-dotdot": "../x",
    "64-nul": "a\0b",
    "65-4kB": "a" * 4096,
    "66-homoglyph": "suppоrt",
    "66-right-to-left": "x\u202etroppus",
    "67-two-ats": "a@b@c",
    "69-dash": "-x",
    "70-quote-or": "x' OR '1'='1",
    "newline": "support\n",
    "no-text": "a\udcffb",
    "empty": "",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_names(registry: Registry, home: Path, draft: Make, name: str) -> None:
    wanted = draft(name)
    acts = (
        lambda: registry.publish(wanted),
        lambda: registry.keys.add(name),
        lambda: registry.keys.add(
            "k", adapters=[name] if name not in (NAMES["63-dotdot"], "-x", "a@b@c") else [""]
        ),
    )
    for act in acts:
        with pytest.raises(InvalidName):
            act()
    assert not home.exists(), "nothing was made"
    if not name.startswith("../"):
        with pytest.raises(InvalidReference):
            parse_ref(name)
    version = registry.publish(draft())
    for take in (registry.get, registry.remove, registry.lineage):
        with pytest.raises(InvalidReference):
            take(name)
    with pytest.raises(InvalidName):
        registry.alias("support", name)
    assert registry.list(all_versions=True) == [version]
    assert registry.alias_history("support") == []
    assert [entry.action for entry in registry.log()] == ["register"]


@pytest.mark.parametrize("alias", ["1", "01", "٢", "²", "sha256:abcdef12"])
def test_68_an_alias_that_is_a_number(registry: Registry, draft: Make, alias: str) -> None:
    registry.publish(draft())
    with pytest.raises(InvalidName):
        registry.alias("support", alias)


@pytest.mark.parametrize(
    "tags", [{"a\0b": "c"}, {"a" * 4096: "c"}, {"x\u202e": "c"}, {"": "c"}, {"a": "b\0c"}, {"a": "\udcff"}]
)
def test_64_tags(registry: Registry, draft: Make, tags: dict[str, str]) -> None:
    with pytest.raises(InvalidData):
        registry.publish(draft(tags=tags))
    version = registry.publish(draft())
    with pytest.raises(InvalidData):
        registry.tag("support", dict(tags))
    assert (version.number, registry.get("support").tags) == (1, {})


def test_73_limits(registry: Registry, draft: Make) -> None:
    version = registry.publish(draft())
    base = version.base.fingerprint
    acts = (
        lambda: registry.list(limit=-1),
        lambda: registry.search("support", limit=-1),
        lambda: registry.log(limit=-1),
        lambda: registry.page(base, limit=-1),
        lambda: registry.page(base, offset=-1),
    )
    for act in acts:
        with pytest.raises(UsageError) as refused:
            act()
        assert refused.value.code == "invalid-limit"
    assert registry.list(limit=0) == []
