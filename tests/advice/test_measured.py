"""What a comparison decides, and files that are none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lftreg.advice.measured import ENOUGH, Comparison, find, gap, read_comparison
from lftreg.errors import InvalidData, NotFound
from lftreg.evaluation.statistics import compare
from lftreg.plugins.types import Measured


def arm(quality: float, delta: float | None, half: float = 0.03, n: int = 100, **more: Any) -> dict[str, Any]:
    """An arm as `lftreg compare` writes it; its intervals reach `half` to either side."""
    return {
        "quality": quality, "ci95": [quality - half, quality + half], "delta": delta,
        "delta_ci95": None if delta is None else [delta - half, delta + half], "exact_match": 0.0,
        "recall_at_k": None, "ttft_ms": 1.0, "seconds_per_query": 0.1, "tokens_per_query": 50.0,
        "prompt_tokens": 20.0, "cost_per_1000": None, "n": n,
    } | more  # fmt: skip


def comparison(arms: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "data": "inbox.jsonl", "docs": "handbook", "n": 100, "ref": "inbox@1", "base": "starter",
        "metric": "token_f1", "arms": arms, "break_even": {"rag": 1200, "few_shot": None}, "notes": [],
    } | more  # fmt: skip


BASE = arm(0.2, None)


def read(tmp_path: Path, document: Any) -> Comparison:
    path = tmp_path / "comparison.json"
    path.write_text(document if isinstance(document, str) else json.dumps(document), encoding="utf-8")
    return read_comparison(path)


@pytest.mark.parametrize(
    ("best", "verdict"),
    [("adapter", "fine-tune"), ("rag", "rag"), ("adapter_rag", "hybrid"), ("few_shot", "prompting")],
)
def test_the_arm_that_is_best_beyond_chance_decides(tmp_path: Path, best: str, verdict: str) -> None:
    arms = {"base": BASE} | {name: arm(0.3, 0.1) for name in ("few_shot", "adapter", "rag", "adapter_rag")}
    found = find(read(tmp_path, comparison(arms | {best: arm(0.5, 0.3)})))
    assert (found.best.name, found.verdict, found.why) == (best, verdict, "")
    assert found.over_next is not None
    # 0.27 to 0.33 against 0.07 to 0.13: the two are at least 0.14 apart and at most 0.26.
    assert found.over_next.ci95 == pytest.approx((0.14, 0.26))
    assert found.over_base is not None and found.over_base.paired


def test_a_base_that_nothing_beats_is_prompting(tmp_path: Path) -> None:
    arms = {"base": arm(0.5, None), "adapter": arm(0.3, -0.2), "rag": arm(0.4, -0.1)}
    assert find(read(tmp_path, comparison(arms))).verdict == "prompting"


def test_arms_whose_intervals_meet_decide_nothing(tmp_path: Path) -> None:
    arms = {"base": BASE, "adapter": arm(0.50, 0.30), "rag": arm(0.45, 0.25)}
    found = find(read(tmp_path, comparison(arms)))
    assert (found.best.name, found.verdict) == ("adapter", None)
    assert "the adapter and the base with search cannot be told apart" in found.why
    assert found.beyond_base == ("adapter", "rag")
    noisy = {"base": BASE, "adapter": arm(0.25, 0.05, half=0.06)}
    assert "the adapter and the bare base cannot be told apart" in find(read(tmp_path, comparison(noisy))).why


def test_paired_qualities_decide_what_bounds_cannot(tmp_path: Path) -> None:
    arms = {"base": BASE, "adapter": arm(0.50, 0.30), "rag": arm(0.45, 0.25)}
    # The adapter is better by 0.05 on average, by 0.04 or 0.06 on each question, however hard that is.
    items = [
        {"quality": {"base": 0.2, "rag": i / 100, "adapter": i / 100 + (0.04 if i % 2 else 0.06), "noise": 1}}
        for i in range(80)
    ]
    found = find(read(tmp_path, comparison(arms, items=items)))
    assert found.verdict == "fine-tune"
    assert found.over_next is not None and found.over_next.paired
    # Differences of 0.04 and 0.06 have a deviation of 0.01 x sqrt(80 / 79); of the mean, a ninth of that.
    # 1.9905 is the 97.5% quantile of t at 79 degrees of freedom.
    low, high = found.over_next.ci95 or (0, 0)
    assert (low + high) / 2 == pytest.approx(0.05)
    assert (high - low) / 2 == pytest.approx(1.9905 * 0.01 / 79**0.5, rel=1e-4)


def test_advice_and_compare_tell_the_same_interval(tmp_path: Path) -> None:
    # As told by compare, whatever the items would come to.
    arms = {"base": BASE, "adapter": arm(0.5, 0.3), "rag": arm(0.3, 0.1)}
    items = [{"quality": {"base": 0.2, "rag": 0.3, "adapter": 0.5 + 0.01 * (i % 3)}} for i in range(60)]
    found = read(tmp_path, comparison(arms, items=items))
    assert gap(found, found.arms["adapter"], found.arms["base"]).ci95 == pytest.approx((0.27, 0.33))
    # Between two arms, the very statistics that compare takes.
    ones, others = (Measured(tuple(item["quality"][name] for item in items)) for name in ("adapter", "rag"))
    assert gap(found, found.arms["adapter"], found.arms["rag"]).ci95 == compare(others, ones).ci95
    # Right and wrong answers that all fall out alike prove less than certainty.
    same = [{"quality": {"base": 0.0, "rag": 0.0, "adapter": 1.0}} for _ in range(60)]
    found = read(tmp_path, comparison(arms, items=same))
    low, high = gap(found, found.arms["adapter"], found.arms["rag"]).ci95 or (0, 0)
    assert 0.5 < low < 1.0 == high


def test_too_few_questions_decide_nothing(tmp_path: Path) -> None:
    for n, verdict in ((ENOUGH - 1, None), (ENOUGH, "fine-tune")):
        arms = {"base": arm(0.2, None, n=n), "adapter": arm(0.6, 0.4, n=n), "rag": arm(0.3, 0.1, n=n)}
        found = find(read(tmp_path, comparison(arms)))
        assert found.verdict == verdict
        assert verdict or "49 questions are too few to decide by; it takes 50" in found.why


def test_arms_that_are_missing_are_done_without(tmp_path: Path) -> None:
    assert find(read(tmp_path, comparison({"base": BASE, "rag": arm(0.5, 0.3)}))).verdict == "rag"
    assert (
        find(read(tmp_path, comparison({"base": BASE, "rag": arm(0.5, 0.3), "adapter": None}))).verdict
        == "rag"
    )
    alone = find(read(tmp_path, comparison({"base": BASE, "few_shot": arm(0.5, 0.3)})))
    assert (alone.verdict, "only one way was measured" in alone.why) == (None, True)
    without_base = find(read(tmp_path, comparison({"adapter": arm(0.5, 0.3), "rag": arm(0.3, 0.1)})))
    assert (without_base.verdict, "the bare base was not measured" in without_base.why) == (None, True)
    no_interval = {"base": BASE, "adapter": arm(0.5, 0.3, delta_ci95=None)}
    assert "of no known interval" in find(read(tmp_path, comparison(no_interval))).why


def test_the_oracle_is_a_ceiling_and_no_choice(tmp_path: Path) -> None:
    arms = {"base": BASE, "rag": arm(0.3, 0.1), "adapter": arm(0.4, 0.2), "oracle": arm(0.9, 0.7)}
    found = find(read(tmp_path, comparison(arms)))
    assert found.best.name == "adapter"
    assert found.ceiling is not None
    assert found.ceiling.by == pytest.approx(0.6)
    for quality, half in ((0.39, 0.01), (0.5, 0.2)):  # sure and small; large and unsure
        near = find(read(tmp_path, comparison(arms | {"oracle": arm(quality, quality - 0.2, half)})))
        assert near.ceiling is None
    few = find(read(tmp_path, comparison(arms | {"oracle": arm(0.9, 0.7, n=10)})))
    assert few.ceiling is None


def test_a_gap_has_two_sides(tmp_path: Path) -> None:
    read_ = read(tmp_path, comparison({"base": BASE, "adapter": arm(0.5, 0.3), "rag": arm(0.45, 0.25)}))
    one, other = read_.arms["adapter"], read_.arms["rag"]
    there, back = gap(read_, one, other), gap(read_, other, one)
    assert there.ci95 is not None and back.ci95 is not None
    assert there.ci95 == pytest.approx((-back.ci95[1], -back.ci95[0]))


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "it has no arms"),
        ('{"error": {"code": "usage"}}', "it has no arms"),
        ('{"ref": "support@1", "digest": "sha256:ab"}', "it has no arms"),
        (comparison({}), "has none of the arms base, few_shot"),
        (comparison({"oracle": BASE}), "has none of the arms"),
        (comparison({"base": 5}), "has arms.base that is no object"),
        (comparison({"base": BASE | {"quality": None}}), "lacks arms.base.quality"),
        (comparison({"base": BASE | {"quality": "good"}}), "has 'good' as arms.base.quality"),
        (comparison({"base": BASE | {"quality": True}}), "has True as arms.base.quality"),
        (comparison({"base": BASE | {"n": 0}}), "lacks a whole number as arms.base.n"),
        (comparison({"base": BASE | {"ci95": [1]}}), "arms.base.ci95 that is no pair"),
        (comparison({"base": BASE | {"ci95": [2, 1]}}), "ends before it begins"),
        (json.dumps(comparison({"base": BASE | {"quality": float("nan")}})), "has nan as arms.base.quality"),
        (json.dumps(comparison({"base": BASE})).replace("0.2,", "1" + "0" * 400 + ","), "no number"),
    ],
)
def test_a_file_that_is_no_comparison_is_refused(tmp_path: Path, document: Any, said: str) -> None:
    with pytest.raises(InvalidData) as caught:
        read(tmp_path, document)
    assert said in caught.value.message
    assert caught.value.code == "invalid-comparison"
    assert "lftreg compare --output FILE" in (caught.value.hint or "")


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read_comparison(tmp_path / "nothing.json")
