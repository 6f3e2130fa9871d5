"""What no database takes is refused alike by both, and what one would change is the same on both."""

from __future__ import annotations

import math
import random
import string
from collections.abc import Callable

import pytest

from lftreg.errors import InvalidData
from lftreg.registry import Base, Draft, Registry, Run

Make = Callable[..., Draft]


@pytest.mark.parametrize("wrong", ["a\0b", "\ud800"])
def test_texts_that_are_none(registry: Registry, draft: Make, wrong: str) -> None:
    registry.publish(draft())
    for act in (
        lambda: registry.tag("support", {"team": wrong}),
        lambda: registry.publish(draft(domain=wrong)),
        lambda: registry.publish(draft(tags={"team": wrong})),
        lambda: registry.list(domain=wrong),
    ):
        with pytest.raises(InvalidData, match="neither stored nor found"):
            act()
    assert [v.tags for v in registry.list(all_versions=True)] == [{}]


def test_numbers_that_are_too_large(registry: Registry, draft: Make) -> None:
    registry.publish(draft())
    for act in (
        lambda: registry.list(limit=10**30),
        lambda: registry.log(before=10**5000),
        lambda: registry.publish(draft(base=Base("a" * 64, "starter", "llama", 1 << 63))),
    ):
        with pytest.raises(InvalidData, match="bits can be neither stored nor found"):
            act()
    assert registry.list(limit=(1 << 63) - 1)


def test_texts_that_no_index_holds(registry: Registry, draft: Make) -> None:
    """Random letters, as PostgreSQL packs others."""
    letters = random.Random(1).choices(string.ascii_letters, k=2001)
    text = "".join(letters)
    registry.publish(
        draft(tags={"n" * 128: text[:2000]}, domain=text[:500], base=Base("a" * 64, text[:2000], "", 1))
    )
    for act in (
        lambda: registry.tag("support", {"note": text}),
        lambda: registry.publish(draft(tags={"note": text})),
        lambda: registry.publish(draft(domain=text[:501])),
        lambda: registry.publish(draft(base=Base("a" * 64, text, "", 1))),
    ):
        with pytest.raises(InvalidData, match="has more than"):
            act()
    assert len(registry.list(where=f"tag.{'n' * 128} = {text[:2000]}", base=text[:2000])) == 1


def test_what_is_no_number_comes_back_as_nothing(registry: Registry, draft: Make) -> None:
    """JSON has none of them; PostgreSQL would refuse the row, hours of training with it."""
    losses = {"train_first": 2.5, "train_last": math.nan, "validation": {"all": [math.inf, -math.inf, 1.0]}}
    run = Run(3, "d" * 64, {"note": "\0 and \ud800 in JSON"}, {}, losses, {}, 100, 1.5)  # type: ignore[arg-type]
    made = registry.publish(draft(run=run))
    found = Registry().get(made.ref).run
    assert found is not None
    assert found.losses == {"train_first": 2.5, "train_last": None, "validation": {"all": [None, None, 1.0]}}
    assert found.settings == run.settings


def test_words_in_any_script_come_back_and_are_sorted_alike(registry: Registry, draft: Make) -> None:
    keys = ["Z", "a", "ä", "B", "b-1", "b_1", "b1", "é", "日本", "🙂", " "]
    registry.publish(draft(tags=dict.fromkeys(keys, "Grüße 🙂 \\ % _ ' \"")))
    found = registry.get("support").tags
    assert list(found) == sorted(keys)
    assert set(found.values()) == {"Grüße 🙂 \\ % _ ' \""}
