"""`lftreg advise` as it is typed, asked on a terminal, and read by scripts."""

from __future__ import annotations

import json
import re
import sys
from importlib.resources import files
from pathlib import Path
from typing import Any

import pexpect
import pytest

from lftreg.advice.judge import judge
from lftreg.advice.rubric import Question, load_rubric
from lftreg.cli.questions import understood
from tests.advice.test_measured import BASE, arm, comparison
from tests.cli.conftest import Lftreg
from tests.cli.test_main import HEAVY, imported_by
from tests.cli.test_terminal import ESCAPE
from tests.conftest import take_ctrl_c

ALL = (
    "--changes", "weekly", "--unseen-facts", "most", "--must-cite", "--no-per-user-access", "--breadth", "all",
    "--documents", "400", "--style", "little", "--behaviour", "near", "--examples", "none", "--latency", "little",
    "--no-offline",
)  # fmt: skip
KEYS = {"verdict", "scores", "gates", "reasons", "flips", "measured", "next", "sources"}


def test_answers_give_a_verdict_its_gates_and_what_would_turn_it(lftreg: Lftreg) -> None:
    document = lftreg("advise", *ALL, "--json").document
    assert set(document) >= KEYS
    assert document["verdict"] == "rag"
    assert document["scores"] == {"rag": pytest.approx(0.8), "fine_tune": 0.0}
    assert [gate["name"] for gate in document["gates"]] == ["must-cite", "changes-weekly", "too-few-examples"]
    assert document["measured"] is None
    for flip in document["flips"]:
        turned = lftreg(
            "advise", *ALL, *(word for o in flip["options"] for word in o.split()), "--json"
        ).document
        assert turned["verdict"] == flip["verdict"] != "rag"
    page = lftreg("advise", *ALL).out
    assert page.startswith("verdict     RAG")
    assert "Facts change at least weekly" in page
    assert lftreg("advise", *ALL, "-q").out == "rag\n"


def test_answers_that_lack_are_named(lftreg: Lftreg) -> None:
    for words in (ALL[4:], (*ALL[4:], "--no-input")):
        done = lftreg("advise", *words, "--json", code=2)
        assert done.error["code"] == "unanswered"
        assert done.error["message"] == "not answered: --changes, --unseen-facts"
    assumed = lftreg("advise", *ALL[4:], "--assume-unknown", "--json").document
    assert (assumed["answers"]["changes"], assumed["verdict"]) == ("unknown", "rag")
    assert any("Not known" in reason and "--unseen-facts" in reason for reason in assumed["reasons"])


def test_of_nothing_it_says_that_too_little_is_known_and_what_to_ask(lftreg: Lftreg) -> None:
    document = lftreg("advise", "--assume-unknown", "--json").document
    assert (document["verdict"], document["decided_by"]) == ("unknown", None)
    assert [one["question"] for one in document["ask_first"]][:2] == ["documents", "must_cite"]
    assert document["next"] == ["lftreg advise"]
    page = lftreg("advise", "--assume-unknown").out
    assert page.startswith("verdict    too little is known to say")
    assert "--documents: How many documents are there" in page
    assert "hybrid" not in page and "scores" not in page
    assert lftreg("advise", "--assume-unknown", "-q").out == "unknown\n"
    assert lftreg("advise", "--style", "much", "--assume-unknown", "--json").document["next"] == [
        "lftreg advise --style much"
    ]


def test_the_rubric_in_force_is_printed_and_can_be_given_back(lftreg: Lftreg, tmp_path: Path) -> None:
    text = lftreg("advise", "--print-rubric").out
    assert text == (files("lftreg.advice") / "rubric.yaml").read_text(encoding="utf-8")
    (tmp_path / "mine.yaml").write_text(text.replace("weight: 0.30", "weight: 0.20").replace("0.10", "0.20"))
    mine = lftreg("advise", "--rubric", "mine.yaml", "--print-rubric").out
    assert mine == (tmp_path / "mine.yaml").read_text() != text
    assert lftreg("advise", "--print-rubric", "--json").document == {"rubric": text, "file": None}
    (tmp_path / "mine.yaml").write_text(text.replace("weight: 0.30", "weight: 0.31"))
    error = lftreg("advise", "--rubric", "mine.yaml", "--print-rubric", "--json", code=2).error
    assert error["code"] == "invalid-rubric"
    assert lftreg("advise", "--rubric", ".", "--json", code=2).error["message"] == ". is a folder"


def test_what_is_needed_and_ruled_out_says_what_is_missing(lftreg: Lftreg) -> None:
    document = lftreg("advise", *ALL, "--documents", "none", "--json").document
    assert (document["verdict"], document["missing"]) == ("none", ["documents that hold the answers"])
    assert "Missing: documents that hold the answers." in document["reasons"]
    found = lftreg(*document["next"][0].split()[1:], "--json").document  # as if they had been found
    assert found["verdict"] == "rag"


def test_explain_shows_what_each_answer_adds(lftreg: Lftreg) -> None:
    page = lftreg("advise", *ALL, "--explain").out
    assert re.search(r"--changes +weekly +RAG +0\.80 +0\.25 +0\.200", page)
    assert "arXiv 2312.05934" in page
    assert page == lftreg("advise", *ALL, "-v").out
    assert "arXiv" not in lftreg("advise", *ALL).out


def test_a_rubric_of_ones_own_makes_the_options(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "thresholds: {both: 0.5, either: 0.35}\n"
        "questions:\n"
        "  moon:\n    {kind: choice, ask: How full, answers: {new: 0, full: 1}, default: new, side: rag, weight: 1,"
        " matters: It shines.}\n"
        "  cats:\n    {kind: count, ask: How many, answers: {0: 0, 3: 1}, default: none, side: fine_tune, weight: 1,"
        " matters: They purr.}\n"
    )
    own = ("advise", "--rubric", "own.yaml", "--json")
    assert lftreg(*own, "--moon", "full", "--cats", "3").document["verdict"] == "hybrid"
    assert lftreg(*own, "--moon", "new", "--cats", "2").document["verdict"] == "prompting"
    assert lftreg(*own, "--moon", "full", code=2).error["message"] == "not answered: --cats"
    assert "No such option '--must-cite'" in lftreg(*own, "--must-cite", code=2).error["message"]
    assert "--moon [new|full|unknown]" in lftreg("advise", "--rubric=own.yaml", "--help").out
    (tmp_path / "own.yaml").write_text((tmp_path / "own.yaml").read_text().replace("moon:", "explain:"))
    assert "would be --explain" in lftreg(*own, code=2).error["message"]
    (tmp_path / "own.yaml").write_text("questions: {}")
    assert lftreg(*own, code=2).error["code"] == "invalid-rubric"
    assert lftreg("advise", "--rubric", "none.yaml", "--json", code=3).error["code"] == "not-found"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--changes", "hourly"), "'hourly' is not one of"),
        (("--examples", "many"), "'many' is no whole number"),
        (("--examples", "-3"), "'-3' is no whole number"),
        (("--documents", "1.5"), "'1.5' is no whole number"),
        (("--documents", "9" * 5000), "is no whole number"),
    ],
)
def test_an_answer_that_is_none_is_refused(lftreg: Lftreg, words: tuple[str, ...], said: str) -> None:
    assert said in lftreg("advise", *words, "--json", code=2).error["message"]


def write(tmp_path: Path, document: dict[str, Any]) -> tuple[str, ...]:
    (tmp_path / "comparison.json").write_text(json.dumps(document))
    return ("advise", "--from-compare", "comparison.json")


def test_what_was_measured_stands_above_the_rubric(lftreg: Lftreg, tmp_path: Path) -> None:
    arms = {"base": BASE, "rag": arm(0.3, 0.1, cost_per_1000=0.4, recall_at_k={"1": 0.2, "3": 0.4, "5": 0.5}),
            "adapter": arm(0.6, 0.4, cost_per_1000=0.1), "oracle": arm(0.55, 0.35)}  # fmt: skip
    words = write(tmp_path, comparison(arms))
    document = lftreg(*words, "--json").document
    assert (document["verdict"], document["decided_by"]) == ("fine-tune", "comparison")
    assert document["scores"] is None
    measured = document["measured"]
    assert (measured["arm"], measured["n"], measured["decisive"]) == ("adapter", 100, True)
    assert measured["over_base"]["by"] == pytest.approx(0.4)
    assert measured["over_next"]["over"] == "rag"
    told = " ".join(document["reasons"])
    assert "Measured on 100 questions of inbox.jsonl: the adapter answers best, token_f1 0.600" in told
    assert "$0.10 by the adapter" in told
    assert "paid back after 1,200 queries" in told
    assert "Retrieval is the bottleneck" in told and "among 5 for 50%" in told
    assert "Even so it stays below the adapter." in told
    assert document["next"][0] == "lftreg alias inbox@1 prod"
    with_answers = lftreg(*words, "--must-cite", "--documents", "5", "--json").document
    assert with_answers["verdict"] == "fine-tune"  # a gate is told of, and does not undo what was measured
    assert with_answers["scores"] is not None
    assert with_answers["flips"] == []  # no answer turns what was measured
    assert "The rubric alone would say rag." in with_answers["reasons"]
    assert any("still holds: Answers must name their source" in reason for reason in with_answers["reasons"])


def test_what_was_measured_and_decides_nothing_leaves_it_to_the_rubric(
    lftreg: Lftreg, tmp_path: Path
) -> None:
    words = write(tmp_path, comparison({"base": BASE, "adapter": arm(0.5, 0.3), "rag": arm(0.45, 0.25)}))
    alone = lftreg(*words, "--json").document
    assert (alone["verdict"], alone["decided_by"], alone["measured"]["decisive"]) == (None, None, False)
    assert "cannot be told apart" in alone["measured"]["why_not"]
    assert lftreg(*words, "-q").out == "none\n"
    asked = lftreg(*words, *ALL, "--json").document
    assert (asked["verdict"], asked["decided_by"]) == ("rag", "scores")
    assert "so the rubric decides" in asked["reasons"][0]


def test_the_same_few_questions_are_not_to_be_asked_again(lftreg: Lftreg, tmp_path: Path) -> None:
    arms = {"base": arm(0.2, None, n=4), "adapter": arm(0.6, 0.4, n=4), "rag": arm(0.3, 0.1, n=4)}
    words = write(tmp_path, comparison(arms, settings={"limit": None}))
    whole = lftreg(*words, "--json").document
    assert whole["next"] == ["lftreg advise"]
    assert any("more are held out of more rows" in reason for reason in whole["reasons"])
    words = write(tmp_path, comparison(arms, settings={"limit": 4}))
    part = lftreg(*words, "--json").document
    assert part["next"][0].startswith("lftreg compare inbox@1 ") and "--limit" not in part["next"][0]
    assert not any("more rows" in reason for reason in part["reasons"])


def test_a_file_that_is_no_comparison_is_refused(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "comparison.json").write_text("{")
    done = lftreg("advise", "--from-compare", "comparison.json", "--json", code=2)
    assert done.error["code"] == "invalid-comparison"
    assert lftreg("advise", "--from-compare", "none.json", "--json", code=3).error["code"] == "not-found"


def test_advice_loads_no_model_library(environment: dict[str, str]) -> None:
    modules = imported_by(environment, "advise", *ALL)
    assert not [name for name in (*HEAVY, "sqlalchemy") if name in modules]


@pytest.mark.parametrize(
    ("name", "typed", "answer"),
    [
        ("changes", "w", "weekly"), ("changes", "Daily", "daily"), ("changes", "", "unknown"),
        ("changes", "?", "unknown"), ("changes", "x", None), 
        ("must_cite", "y", "yes"), ("must_cite", "NO", "no"), ("must_cite", "", "unknown"),
        ("examples", "1,200", 1200), ("examples", "none", 0), ("examples", "", "unknown"), ("examples", "-1", None),
        ("style", "m", "much"), ("unseen_facts", "?", "unknown"),
    ],
)  # fmt: skip
def test_what_is_typed_is_understood(name: str, typed: str, answer: object) -> None:
    question: Question = load_rubric().questions[name]
    assert understood(question, typed) == answer


def talk(environment: dict[str, str], tmp_path: Path, *words: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable, ["-m", "lftreg", "advise", *words], env=environment, cwd=str(tmp_path), encoding="utf-8",
        timeout=60, dimensions=(40, 80), preexec_fn=take_ctrl_c,
    )  # fmt: skip


def test_questions_are_asked_on_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    rubric = load_rubric()
    given = {"changes": "daily", "must_cite": "no"}
    typed = {"unseen_facts": "most", "documents": "12", "examples": "lots", "style": "some", "behaviour": "near",
             "offline": "?"}  # fmt: skip
    process = talk(environment, tmp_path, "--changes", "daily", "--no-must-cite")
    seen = ""
    for question in rubric.questions.values():
        if question.name in given:
            continue
        process.expect_exact("] ")
        seen += str(process.before)
        process.sendline(typed.get(question.name, ""))
        if typed.get(question.name) == "lots":  # is no number: asked again
            process.expect_exact("] ")
            assert "'lots' is none of them" in str(process.before)
            process.sendline("60")
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 0
    assert "1 of 9" in seen and "9 of 9" in seen
    assert "Enter where you do not know." in seen and "a number, or none [not known" in seen
    answers = {name: question.default for name, question in rubric.questions.items()} | given
    assert set(answers.values()) == {"unknown", "daily", "no"}
    answers |= {"unseen_facts": "most", "documents": 12, "examples": 60, "style": "some", "behaviour": "near"}
    expected = judge(rubric, answers)
    page = ESCAPE.sub("", str(process.before))
    assert expected.verdict == "rag" and re.search(r"verdict +RAG: ", page)
    assert f"RAG {expected.scores['rag']:.2f}, fine-tuning {expected.scores['fine_tune']:.2f}" in page
    assert all(len(line) <= 80 for line in page.splitlines())


def test_whoever_hangs_up_is_not_answered(environment: dict[str, str], tmp_path: Path) -> None:
    for end in ("sendeof", "sendintr"):
        process = talk(environment, tmp_path)
        process.expect_exact("[not known] ")
        getattr(process, end)()
        process.expect(pexpect.EOF)
        process.close()
        assert process.exitstatus == 130
        assert "error: interrupted" in ESCAPE.sub("", str(process.before))


def test_nobody_is_asked_where_answers_are_to_be_assumed(environment: dict[str, str], tmp_path: Path) -> None:
    for words, status in ((("--assume-unknown",), 0), (("--no-input",), 2)):
        process = talk(environment, tmp_path, *words)
        process.expect(pexpect.EOF)
        process.close()
        assert process.exitstatus == status
