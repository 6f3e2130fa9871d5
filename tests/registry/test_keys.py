"""Keys of a server: what is kept of a token, what a key may, and when it ends."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from lftreg.errors import InvalidName, NotFound, UsageError
from lftreg.registry import Registry


def test_a_token_opens_and_is_kept_nowhere(registry: Registry, home: Path) -> None:
    assert not registry.keys.any()
    assert registry.keys.find("lft-anything") is None
    assert registry.keys.list() == []
    token, key = registry.keys.add("website", per_minute=20)
    assert len(token) > 40
    found = Registry().keys.find(token)
    assert found == key
    assert found is not None
    assert (found.scopes, found.per_minute, found.concurrent) == (("generate", "models"), 20, None)
    for file in home.rglob("*"):
        assert not file.is_file() or token.encode() not in file.read_bytes()


@pytest.mark.parametrize("wrong", ["", "lft-", "x" * 10_000, "lft-\udc80", "' OR 1=1 --"])
def test_another_token_does_not(registry: Registry, wrong: str) -> None:
    token, _ = registry.keys.add("website")
    assert (
        registry.keys.find(wrong) is registry.keys.find(token[:-1]) is registry.keys.find(f"{token} ") is None
    )


def test_a_key_ends_on_its_day_and_when_it_is_taken_away(registry: Registry) -> None:
    past, _ = registry.keys.add("past", expires_at=datetime.now(UTC) - timedelta(seconds=1))
    future, _ = registry.keys.add("future", expires_at=datetime.now(UTC) + timedelta(days=1))
    assert registry.keys.find(past) is None
    assert registry.keys.find(future) is not None
    assert [(key.name, key.expired) for key in registry.keys.list()] == [("future", False), ("past", True)]
    registry.keys.remove("future")
    assert registry.keys.find(future) is None
    assert registry.keys.any()  # one that has expired: what asked for keys does not open by itself
    with pytest.raises(NotFound, match="Did you mean 'past'"):
        registry.keys.remove("pas")


def test_what_a_key_may(registry: Registry) -> None:
    _, key = registry.keys.add("intern", ["models"], adapters=["support*", "finance"])
    assert key.may("models")
    assert not key.may("generate")
    assert [key.may_ask(name) for name in ("support", "support2", "finance", "finance2", "Support")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    _, admin = registry.keys.add("boss", ["admin"])
    assert admin.may("generate")
    assert admin.may_ask("anything")


def test_a_key_that_makes_no_sense_is_refused(registry: Registry) -> None:
    registry.keys.add("website")
    with pytest.raises(UsageError, match="already"):
        registry.keys.add("website")
    with pytest.raises(UsageError, match="unknown scope 'root'"):
        registry.keys.add("other", ["root"])
    with pytest.raises(UsageError, match="without a scope"):
        registry.keys.add("other", [])
    with pytest.raises(InvalidName):
        registry.keys.add("../other")
    assert [key.name for key in registry.keys.list()] == ["website"]
