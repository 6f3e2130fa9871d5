from __future__ import annotations

import random
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from lftreg.errors import NotFound
from lftreg.evaluation.leaderboard import rankings
from lftreg.registry import Base, Registry, Score

BASE = Base("f" * 64, "starter", "llama", 15_000_000)


def record(
    registry: Registry, name: str, values: Sequence[float | None], metric: str = "rouge_l", **fields: object
) -> Score:
    """A kept score whose figure is the mean of its items."""
    known = [value for value in values if value is not None]
    figure = {
        "value": sum(known) / len(known) if known else None, "base": 0.4, "delta": 0.1, "ci95": [0.0, 0.2], "p": 0.04,
        "better": "higher", "unit": "share", "measurable": bool(known), "note": None,
    }  # fmt: skip
    given: dict[str, object] = {
        "digest": name * 64, "ref": f"{name}@1", "base": BASE, "suite": "desk", "suite_digest": "5" * 64,
        "decoding": {"max_tokens": 64, "temperature": 0.0}, "decoding_digest": "d" * 64, "n": len(values),
        "metrics": {metric: figure}, "libraries": {}, "items": "", "at": datetime.now(UTC),
    }  # fmt: skip
    rows = [{"scores": {metric: value}} for value in values]
    (kept,) = registry.scores.add([(Score(**(given | fields)), rows)])  # type: ignore[arg-type]
    return kept


def values(mean: float, n: int = 100, seed: int = 0) -> list[float]:
    dice = random.Random(seed)
    return [mean + dice.uniform(-0.2, 0.2) for _ in range(n)]


def test_who_differs_by_no_more_than_chance_shares_a_rank(registry: Registry) -> None:
    record(registry, "a", values(0.6, seed=1))
    record(registry, "b", values(0.6, seed=2))
    record(registry, "c", values(0.3, seed=3))
    (ranking,) = rankings(registry)
    assert {p.score.digest[0]: p.rank for p in ranking.places} == {"a": 1, "b": 1, "c": 3}
    assert [p.value for p in ranking.places] == sorted((p.value for p in ranking.places), reverse=True)


def test_what_training_has_seen_counts_in_no_rank(registry: Registry) -> None:
    memory = [*values(0.9, n=60, seed=4), *values(0.2, n=60, seed=5)]
    record(registry, "a", memory, facts={"contaminated": list(range(60))}, metrics={"rouge_l": {
        "value": 0.55, "base": 0.4, "delta": 0.15, "ci95": [0.1, 0.2], "p": 0.0, "better": "higher", "unit": "share",
        "measurable": True, "note": None,
        "clean": {"value": 0.2, "delta": -0.2, "ci95": [-0.3, -0.1], "p": 0.01, "winner": "base"},
    }})  # fmt: skip
    record(registry, "b", values(0.4, n=120, seed=6))
    record(registry, "c", values(0.95, n=120, seed=7), facts={"contaminated": list(range(120))})
    (ranking,) = rankings(registry)
    assert [(place.score.digest[0], place.rank) for place in ranking.places] == [
        ("b", 1),
        ("a", 2),
        ("c", None),
    ]
    a, c = ranking.places[1:]
    shown = a.shown("rouge_l")
    assert shown is not None and (shown["value"], shown["delta"], shown["ci95"]) == (0.2, -0.2, [-0.3, -0.1])
    assert a.value == 0.55 and a.seen == 60
    whole = c.shown("rouge_l")
    assert whole is not None and whole["delta"] is None and whole["ci95"] is None


def test_under_fifty_items_nobody_is_told_apart(registry: Registry) -> None:
    record(registry, "a", values(0.9, n=49))
    record(registry, "b", values(0.1, n=49))
    (ranking,) = rankings(registry)
    assert [place.rank for place in ranking.places] == [1, 1]
    record(registry, "a", values(0.9, n=50), suite_digest="6" * 64)
    record(registry, "b", values(0.1, n=50), suite_digest="6" * 64)
    assert [place.rank for place in rankings(registry, "666666")[0].places] == [1, 2]


@pytest.mark.parametrize("other", [{"suite_digest": "6" * 64}, {"decoding_digest": "e" * 64}])
def test_other_items_or_another_decoding_is_another_ranking(
    registry: Registry, other: dict[str, str]
) -> None:
    record(registry, "a", values(0.6))
    record(registry, "b", values(0.5), **other)
    newest, oldest = rankings(registry)
    assert [place.score.digest[0] for place in newest.places] == ["b"]
    assert [place.score.digest[0] for place in oldest.places] == ["a"]


def test_the_newest_score_of_a_content_counts(registry: Registry) -> None:
    record(registry, "a", values(0.2))
    record(registry, "a", values(0.7))
    (ranking,) = rankings(registry)
    assert [round(place.value, 1) for place in ranking.places] == [0.7]


def test_where_less_is_better_the_least_is_first(registry: Registry) -> None:
    for name, mean in (("a", 0.9), ("b", 0.3)):
        kept = record(registry, name, values(mean), "bits_per_byte")
        figure = dict(kept.metrics["bits_per_byte"]) | {"better": "lower"}
        record(registry, name, values(mean), "bits_per_byte", metrics={"bits_per_byte": figure})
    (ranking,) = rankings(registry)
    assert [(p.score.digest[0], p.rank) for p in ranking.places] == [("b", 1), ("a", 2)]


def test_what_was_not_measurable_is_not_ranked(registry: Registry) -> None:
    record(registry, "a", values(0.6))
    record(registry, "b", [None] * 100)
    (ranking,) = rankings(registry)
    assert [place.score.digest[0] for place in ranking.places] == ["a"]


def test_nothing_to_rank_is_told(registry: Registry) -> None:
    with pytest.raises(NotFound, match="nothing was evaluated yet"):
        rankings(registry)
    record(registry, "a", values(0.6))
    with pytest.raises(NotFound, match="nothing was evaluated on 'other' yet"):
        rankings(registry, "other")
    with pytest.raises(NotFound, match="no score can be ranked by 'bleu'"):
        rankings(registry, metric="bleu")
