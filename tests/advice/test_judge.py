"""The built-in rubric by hand, every gate, every verdict, and that flips really flip."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lftreg.advice.judge import Verdict, complete, deciding, flips, judge
from lftreg.advice.rubric import UNKNOWN, Answer, Rubric, load_rubric
from lftreg.errors import UsageError

# Nothing speaks for either side, and no gate holds.
NEITHER: Mapping[str, Answer] = {
    "changes": "never", "unseen_facts": "none", "must_cite": "no", "per_user_access": "no", "breadth": "little",
    "documents": 10, "style": "little", "behaviour": "near", "examples": 50, "latency": "little", "offline": "no",
}  # fmt: skip
FOR_RAG: Mapping[str, Answer] = {
    "changes": "daily", "unseen_facts": "most", "must_cite": "yes", "per_user_access": "yes", "breadth": "all",
}  # fmt: skip
FOR_TUNING: Mapping[str, Answer] = {
    "style": "much", "behaviour": "far", "examples": 1000, "latency": "much", "offline": "yes",
}  # fmt: skip


@cache
def rubric() -> Rubric:
    return load_rubric()


def answers() -> st.SearchStrategy[dict[str, Answer]]:
    """Any answers to the built-in rubric."""
    return st.fixed_dictionaries(
        {
            name: st.sampled_from([0, 1, 49, 50, 199, 200, 999, 1000, 10**6, UNKNOWN])
            if question.kind == "count"
            else st.sampled_from([*question.scores, UNKNOWN])
            for name, question in rubric().questions.items()
        }
    )


@pytest.mark.parametrize(
    ("changed", "rag", "fine_tune", "verdict"),
    [
        # 50 examples are worth 0.4, of a weight of 0.20: 0.08 stands in every sum without better ones.
        ({}, 0.0, 0.08, "prompting"),
        (FOR_RAG, 1.0, 0.08, "rag"),
        (FOR_TUNING, 0.0, 1.0, "fine-tune"),
        ({**FOR_RAG, **FOR_TUNING}, 1.0, 1.0, "hybrid"),
        # 0.25 x 0.5 + 0.25 x 0.5 + 0.15 x 0.5; 0.30 x 0.5 + 0.25 x 0.5 + 0.20 x 0.7 + 0.15 x 0.5
        (
            {"changes": "monthly", "unseen_facts": "some", "breadth": "some", "style": "some",
             "behaviour": "between", "examples": 200, "latency": "some"},
            0.325, 0.49, "fine-tune",
        ),
        # Both between the thresholds: 0.25 x 0.5 + 0.25 against 0.30 + 0.08; the tie is below.
        ({"changes": "monthly", "unseen_facts": "most", "style": "much"}, 0.375, 0.38, "fine-tune"),
        # On the thresholds: 0.25 + 0.25 x 0.5 + 0.15 x 0.5 + ... = 0.5 is enough for both.
        ({"unseen_facts": "most", "changes": "monthly", "breadth": "all", "style": "much",
          "behaviour": "between"}, 0.525, 0.505, "hybrid"),
    ],
)  # fmt: skip
def test_scores_are_those_of_a_sum_by_hand(
    changed: Mapping[str, Answer], rag: float, fine_tune: float, verdict: Verdict
) -> None:
    found = judge(rubric(), {**NEITHER, **changed})
    assert found.scores == pytest.approx({"rag": rag, "fine_tune": fine_tune})
    assert found.verdict == verdict
    for side in ("rag", "fine_tune"):
        adds = [one.adds for one in found.contributions if one.question.side == side]
        assert sum(adds) == pytest.approx(found.scores[side])


@pytest.mark.parametrize(
    ("changed", "gate", "verdict"),
    [
        ({"must_cite": "yes"}, "must-cite", "rag"),
        ({"per_user_access": "yes"}, "per-user-access", "rag"),
        ({"changes": "weekly"}, "changes-weekly", "rag"),
        ({"changes": "daily"}, "changes-weekly", "rag"),
        ({**FOR_TUNING, "examples": 49}, "too-few-examples", "prompting"),
        ({"unseen_facts": "most", "breadth": "all", "documents": 0}, "no-documents", "prompting"),
    ],
)
def test_each_gate_decides_alone(changed: Mapping[str, Answer], gate: str, verdict: Verdict) -> None:
    found = judge(rubric(), {**NEITHER, **changed})
    assert [one.name for one in found.gates] == [gate]
    assert found.decided == {gate}
    assert found.verdict == verdict


def test_a_gate_that_changes_nothing_did_not_decide() -> None:
    found = judge(rubric(), {**NEITHER, "examples": 0})
    assert [gate.name for gate in found.gates] == ["too-few-examples"]
    assert (found.verdict, found.decided) == ("prompting", frozenset())


def test_two_gates_that_say_the_same_decide_together() -> None:
    found = judge(rubric(), {**NEITHER, **FOR_TUNING, "must_cite": "yes", "per_user_access": "yes"})
    assert found.verdict == "hybrid"  # without them it would be fine-tuning alone
    assert found.decided == {"must-cite", "per-user-access"}


def test_what_is_needed_and_ruled_out_is_no_verdict_and_says_what_is_missing() -> None:
    found = judge(rubric(), {**NEITHER, **FOR_TUNING, "must_cite": "yes", "documents": 0})
    assert found.verdict == "none"
    assert found.missing == ("documents that hold the answers",)
    assert found.decided == {"must-cite", "no-documents"}
    turned = {
        flip.verdict
        for flip in flips(rubric(), {**NEITHER, **FOR_TUNING, "must_cite": "yes", "documents": 0})
    }
    assert turned == {"hybrid", "fine-tune"}  # documents are found, or nothing has to be cited


NOTHING: Mapping[str, Answer] = dict.fromkeys((*FOR_RAG, *FOR_TUNING, "documents"), UNKNOWN)


def test_of_nothing_nothing_is_said() -> None:
    found = judge(rubric(), NOTHING)
    assert found.scores == {"rag": 0.5, "fine_tune": 0.5}
    assert found.known == {"rag": 0.0, "fine_tune": 0.0}
    assert (found.gates, found.verdict, found.unsure) == ((), "unknown", ("rag", "fine_tune"))


@pytest.mark.parametrize(
    ("told", "verdict", "unsure"),
    [
        ({"must_cite": "yes"}, "rag", ("fine_tune",)),  # needed, whatever else is so
        ({"documents": 0}, "unknown", ("fine_tune",)),
        ({"documents": 0, "examples": 0}, "prompting", ()),  # both are ruled out
        ({"examples": 1000, "style": "much"}, "fine-tune", ("rag",)),  # half of its weight, on the threshold
        ({"style": "much"}, "unknown", ("rag", "fine_tune")),  # 0.30 of it
        (
            {"style": "little", "behaviour": "near"},
            "unknown",
            ("rag",),
        ),  # it is not worth it; the other may be
        ({"style": "much", "behaviour": "far", "must_cite": "yes"}, "hybrid", ()),
        ({"changes": "never", "unseen_facts": "most", "style": "much"}, "rag", ("fine_tune",)),
    ],
)
def test_a_side_counts_once_half_of_its_weight_is_answered(
    told: Mapping[str, Answer], verdict: Verdict, unsure: tuple[str, ...]
) -> None:
    found = judge(rubric(), {**NOTHING, **told})
    assert (found.verdict, found.unsure) == (verdict, unsure)


def test_the_questions_that_decide_most_come_first() -> None:
    found = deciding(rubric(), NOTHING)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert set(found) == set(NOTHING)
    # Without documents or with a source to be named there is one way left; small weights turn little.
    assert list(found)[:2] == ["documents", "must_cite"]
    assert found["documents"] > 2 * found["offline"]
    assert deciding(rubric(), NOTHING) == found
    left = deciding(rubric(), {**NOTHING, "documents": 0, "must_cite": "no"})
    assert not {"documents", "must_cite"} & set(left)
    assert deciding(rubric(), {**NEITHER, **FOR_RAG}) == {}


def test_equal_scores_are_retrieval() -> None:
    both = {
        "unseen_facts": "most",
        "changes": "monthly",
        "latency": "some",
        "style": "some",
        "behaviour": "between",
    }
    found = judge(rubric(), {**NEITHER, **both, "examples": UNKNOWN, "latency": UNKNOWN, "style": "some"})
    # 0.375 + 0 against 0.15 + 0.125 + 0.10 + 0.075 = 0.45: fine-tuning; without latency they are equal.
    assert (found.scores["fine_tune"], found.verdict) == (pytest.approx(0.45), "fine-tune")
    equal = judge(rubric(), {**NEITHER, **both, "examples": UNKNOWN, "latency": "little"})
    assert equal.scores == {"rag": 0.375, "fine_tune": 0.375}
    assert equal.verdict == "rag"


@settings(max_examples=100, deadline=None)
@given(given_=answers())
def test_every_flip_named_really_flips(given_: dict[str, Answer]) -> None:
    now = judge(rubric(), given_)
    assert all(0 <= score <= 1 for score in now.scores.values())
    found = flips(rubric(), given_)
    assert found  # no verdict of this rubric is further than two answers from another
    for flip in found:
        assert all(given_[name] != answer for name, answer in flip.changes.items())
        assert judge(rubric(), {**given_, **flip.changes}).verdict == flip.verdict != now.verdict
    assert [flip.distance for flip in found] == sorted(flip.distance for flip in found)
    assert len({len(flip.changes) for flip in found}) == 1


@settings(max_examples=40, deadline=None)
@given(given_=answers())
def test_two_answers_are_named_only_where_no_single_one_flips(given_: dict[str, Answer]) -> None:
    now = judge(rubric(), given_).verdict
    single = any(
        judge(rubric(), {**given_, name: answer}).verdict != now
        for name, question in rubric().questions.items()
        for answer in ((0, 1, 49, 50, 199, 200, 999, 1000) if question.kind == "count" else question.scores)
    )
    assert {len(flip.changes) for flip in flips(rubric(), given_)} == ({1} if single else {2})


def test_the_nearest_number_is_named() -> None:
    found = flips(rubric(), {**NEITHER, **FOR_TUNING, "examples": 30})
    assert (found[0].changes, found[0].verdict) == ({"examples": 50}, "fine-tune")
    found = flips(rubric(), {**NEITHER, **FOR_TUNING, "examples": 5000})
    assert {"examples": 49} in [flip.changes for flip in found]


def test_answers_that_lack_are_named() -> None:
    with pytest.raises(UsageError, match="not answered: --breadth, --offline") as caught:
        complete(rubric(), {**NEITHER, "breadth": None, "offline": None}, assume_unknown=False)
    assert "--assume-unknown" in (caught.value.hint or "")
    assert complete(rubric(), {}, assume_unknown=True) == dict.fromkeys(rubric().questions, UNKNOWN)
