from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lftreg.errors import CheckFailed
from lftreg.registry import Base, Draft, Preference, Registry, Score
from tests.registry.conftest import BASE

Make = Callable[..., Draft]


def score(digest: str = "a" * 64, **fields: object) -> Score:
    given = {
        "digest": digest, "ref": "support@1", "base": BASE, "suite": "desk", "suite_digest": "5" * 64,
        "decoding": {"max_tokens": 64}, "decoding_digest": "d" * 64, "n": 2,
        "metrics": {"rouge_l": {"value": 0.5}}, "libraries": {"torch": "2"}, "items": "", "at": datetime.now(UTC),
    }  # fmt: skip
    return Score(**(given | fields))  # type: ignore[arg-type]


def choice(item: int, chosen: str = "it", **fields: object) -> Preference:
    given = {
        "digest": "a" * 64, "ref": "support@1", "against": BASE.fingerprint, "against_ref": "base:starter",
        "suite": "desk", "suite_digest": "5" * 64, "decoding_digest": "d" * 64, "item": item, "choice": chosen,
        "at": datetime.now(UTC),
    }  # fmt: skip
    return Preference(**(given | fields))  # type: ignore[arg-type]


def test_scores_come_back_newest_first_with_the_values_of_every_item(registry: Registry, home: Path) -> None:
    rows = [{"prompt": "q", "scores": {"rouge_l": 0.25}}, {"prompt": "é", "scores": {"rouge_l": None}}]
    registry.scores.add([(score(), rows)])
    registry.scores.add([(score("b" * 64, facts={"contaminated": [1]}), rows[:1])])
    newest, oldest = Registry().scores.find()
    assert (newest.digest, oldest.digest) == ("b" * 64, "a" * 64)
    assert newest.facts == {"contaminated": [1]}
    assert (oldest.base, oldest.metrics) == (BASE, {"rouge_l": {"value": 0.5}})
    assert registry.scores.items(oldest) == rows
    assert not oldest.of_base and score(BASE.fingerprint).of_base


def test_a_later_score_of_fewer_metrics_takes_nothing_away_and_moves_none(registry: Registry) -> None:
    for names, value in (
        ("bleu", 0.1),
        (("perplexity", "bleu", "rouge_l", "style"), 0.2),
        (("style", "bleu"), 0.3),
    ):
        given = [names] if isinstance(names, str) else names
        metrics = {name: {"value": value} for name in given}
        registry.scores.add([(score(metrics=metrics), [{"scores": dict.fromkeys(given, value)}])])
    (known,) = registry.scores.newest()
    assert list(known.metrics) == ["perplexity", "bleu", "rouge_l", "style"]
    assert [one["value"] for one in known.metrics.values()] == [0.2, 0.3, 0.2, 0.3]


def test_verify_reads_what_was_answered(registry: Registry, draft: Make) -> None:
    made = registry.publish(draft())
    kept = registry.scores.add(
        [
            (score(made.digest), [{"prompt": "q"}]),
            (score(BASE.fingerprint, ref="base:starter"), [{"prompt": "p"}]),
        ]
    )
    assert registry.verify() == registry.verify(made.ref) == []
    registry.blobs.path(kept[0].items).write_bytes(b"[]")
    registry.blobs.path(kept[1].items).unlink()
    (changed,) = registry.verify(made.ref)
    assert (changed.ref, changed.code) == (made.ref, "changed-score") and "desk" in changed.message
    assert {(one.ref, one.code) for one in registry.verify()} == {
        (made.ref, "changed-score"), ("base:starter", "missing-score"),
    }  # fmt: skip


def test_scores_are_found_by_each_of_their_digests(registry: Registry) -> None:
    registry.scores.add([(score(), []), (score("b" * 64, suite="other", suite_digest="6" * 64), [])])
    find = registry.scores.find
    assert (
        [s.digest[0] for s in find(suite="other")]
        == [s.digest[0] for s in find(suite_digest="6" * 64)]
        == ["b"]
    )
    assert [s.digest[0] for s in find(digest="a" * 64)] == ["a"]
    assert len(find(decoding_digest="d" * 64)) == 2
    assert find(decoding_digest="e" * 64) == []


def test_an_empty_home_has_no_scores_and_stays_empty(registry: Registry, home: Path) -> None:
    assert registry.scores.find() == registry.scores.preferences("a" * 64) == []
    assert not home.exists()


def test_values_that_are_lost_are_told(registry: Registry, home: Path) -> None:
    (kept,) = registry.scores.add([(score(), [{"prompt": "q"}])])
    registry.blobs.path(kept.items).unlink()
    with pytest.raises(CheckFailed):
        registry.scores.items(kept)


def test_of_several_scores_all_are_kept_or_none(registry: Registry) -> None:
    bad = score("b" * 64, n=object())
    with pytest.raises(Exception, match=r"(?i)object|type"):
        registry.scores.add([(score(), []), (bad, [])])
    assert registry.scores.find() == []


def test_choices_are_kept_one_by_one_in_their_order(registry: Registry) -> None:
    for item, chosen in enumerate(["it", "other", "tie"]):
        registry.scores.prefer(choice(item, chosen))
    registry.scores.prefer(choice(0, "other", against="c" * 64))
    kept = registry.scores.preferences("a" * 64, BASE.fingerprint)
    assert [(one.item, one.choice) for one in kept] == [(0, "it"), (1, "other"), (2, "tie")]
    assert len(registry.scores.preferences("a" * 64)) == 4


def test_a_base_that_only_scores_know_is_remembered(registry: Registry) -> None:
    other = Base("e" * 64, "other", "gpt2", 7)
    registry.scores.add([(score(other.fingerprint, base=other), [])])
    assert (other, 0) in registry.bases()
