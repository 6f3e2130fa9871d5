"""Rubrics of a user's own: read, or refused with the place of what is wrong."""

from __future__ import annotations

import re
from importlib.resources import files
from pathlib import Path

import pytest

from lftreg.advice.judge import flips, judge
from lftreg.advice.rubric import SIDES, load_rubric
from lftreg.errors import InvalidData, NotFound

BUILT_IN = (files("lftreg.advice") / "rubric.yaml").read_text(encoding="utf-8")
SMALL = """
thresholds: {both: 0.6, either: 0.3}
questions:
  facts: {kind: yes_no, ask: Facts, answers: {yes: 1, no: 0}, default: no, side: rag, weight: 1, matters: Well}
  manner: {kind: yes_no, ask: Manner, answers: {yes: 1, no: 0}, default: no, side: fine_tune, weight: 1, matters: Well}
"""


def test_weights_of_the_built_in_rubric_are_those_of_the_page() -> None:
    found = load_rubric()
    weights = {side: [q.weight for q in found.questions.values() if q.side == side] for side in SIDES}
    assert weights == {"rag": [0.25, 0.25, 0.20, 0.15, 0.15], "fine_tune": [0.30, 0.25, 0.20, 0.15, 0.10]}
    assert (found.both, found.either) == (0.5, 0.35)
    assert {source.cite.rpartition("arXiv ")[2] for source in found.sources.values()} >= {
        "2312.05934", "2401.08406", "2403.10131",
    }  # fmt: skip


def test_a_rubric_of_ones_own_judges(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(SMALL)
    found = load_rubric(own)
    assert judge(found, {"facts": "yes", "manner": "no"}).verdict == "rag"
    assert judge(found, {"facts": "yes", "manner": "yes"}).verdict == "hybrid"
    (first, *_) = flips(found, {"facts": "no", "manner": "no"})
    assert first.changes in ({"facts": "yes"}, {"manner": "yes"})


def test_the_built_in_rubric_is_a_file_to_begin_with(tmp_path: Path) -> None:
    copy = tmp_path / "copy.yaml"
    copy.write_text(BUILT_IN, encoding="utf-8")
    assert load_rubric(copy) == load_rubric()


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("weight: 0.30", "weight: 0.31", "weights for fine_tune that add up to 1.01, not to 1"),
        ("weight: 0.30", "weight: heavy", "questions.style.weight is 'heavy' and must be from 0 to 1"),
        ("weight: 0.30", "wieght: 0.30", "questions.style has an unknown key 'wieght'; known: answers, ask"),
        ("kind: choice", "kind: guess", "questions.changes.kind is 'guess'; it must be one of choice, yes_no, count"),
        ("side: rag", "side: both", "questions.changes.side is 'both'"),
        ("never: 0", "never: 2", "questions.changes.answers.never is 2 and must be from 0 to 1"),
        ("{never: 0, monthly: 0.5, weekly: 0.8, daily: 1}", "{never: 0}", "changes.answers must be two"),
        ("{never: 0, monthly", "{unknown: 0, monthly", "changes.answers must be two words"),
        ("side: rag", "side: rag\n    default: yearly", "changes.default is 'yearly' and must be one of never"),
        ("side: rag", "side: rag\n    default: [monthly]", "questions.changes.default must be a word or a number"),
        ("either: 0.35, known", "either: 0.35, knwon", "thresholds has an unknown key 'knwon'"),
        ("known: 0.5}", "known: 5}", "thresholds.known is 5 and must be from 0 to 1"),
        ("source: ovadia", "source: nobody", "names 'nobody', which is not under sources"),
        ("source: ovadia", "source: [ovadia]", "questions.changes.source must be a text"),
        ("must_cite: yes}", "must_quote: yes}", "gates.must-cite.when names 'must_quote', which is no question"),
        ("[weekly, daily]", "[weekly, hourly]", "gates.changes-weekly.when.changes holds 'hourly', which is none of"),
        ("{below: 50}", "{under: 50}", "gates.too-few-examples.when.examples has an unknown key 'under'"),
        ("{below: 50}", "{below: few}", "must be {below: N} or {at_least: N}, of a whole number"),
        ("needs: rag", "wants: rag", "gates.must-cite has an unknown key 'wants'"),
        ("    needs: rag\n", "", "gates.must-cite must have either needs or rules_out"),
        ("{both: 0.5, either: 0.35, known: 0.5}", "{both: 0.3, either: 0.5}", "has either (0.5) above both (0.3)"),
        ("{both: 0.5, either: 0.35, known: 0.5}", "{both: 0.5}", "thresholds.either is missing"),
        ("unknown: 0.5", "unknown: .nan", "unknown is nan and must be from 0 to 1"),
        ("tie: rag", "tie: coin", "tie is 'coin'; it must be one of rag, fine_tune"),
        ("tie: rag", "tie: rag\ntie: fine_tune", "'tie' is there twice"),
        ("tie: rag", "tie: rag\ndice: 1", "the file has an unknown key 'dice'"),
        ("  breadth:", "  Breadth:", "questions.Breadth is no name"),
        ("  breadth:", "  no_must_cite:", "questions.no_must_cite wants --no-must-cite, as must_cite does"),
        ("  breadth:", "  5:", "questions holds 5, which is no name"),
        ("answers: {yes: 1, no: 0}", "answers: {yes: 1}", "questions.must_cite.answers must be of yes and no"),
        ("{0: 0, 50: 0.4", "{few: 0, 50: 0.4", "questions.examples.answers must be scores by whole numbers"),
        ("questions:", "questions: [", "is not YAML"),
        ("questions:", "questions: 5\nrest:", "has an unknown key 'rest'"),
        ("tie: rag", "tie: 2026-13-45", "'2026-13-45' is no value"),
        ("tie: rag", "tie: !!python/object/apply:os.getcwd []", "is not YAML"),
    ],
)  # fmt: skip
def test_a_bad_rubric_is_refused_at_its_place(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in BUILT_IN
    bad = tmp_path / "bad.yaml"
    bad.write_text(BUILT_IN.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidData) as caught:
        load_rubric(bad)
    assert said in caught.value.message
    assert re.match(rf"{re.escape(str(bad))}, line \d+: ", caught.value.message)
    assert caught.value.code == "invalid-rubric"
    assert "--print-rubric" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", ": it holds nothing"),
        ("# only a comment\n", ": it holds nothing"),
        ("a: 1\nb: [1,\n 2\nc: 3\n", ", line 2: is not YAML: a bracket is opened here"),
        ("a: 1\nb: 'x\nc: 3\n", ", line 2: is not YAML: a quote is opened here and never closed"),
        ("a:\n\tb: 1\n", ", line 2: is not YAML: a tab stands where only spaces may"),
        ("a: b: c\n", ", line 1: is not YAML: a colon stands where no key can"),
        ("a: 1\n  b: 2\n", ", line 2: is not YAML: a colon stands where no key can"),
        ("a: 1\nb\n", ", line 2: is not YAML: a key has no colon behind it"),
        ("a: 1\n---\nb: 2\n", ", line 2: is not YAML: a second document (---) begins"),
        ("a: *b\n", ", line 1: is not YAML: it names an anchor (*) that is nowhere"),
        ("@a: 1\n", ", line 1: is not YAML: no value begins with this character"),
        ("a: 1\nb: \x01\n", ", line 2: it holds a character that no text has"),
        ("? [a]\n: b\n", ", line 1: is not YAML: a key must be a word or a number"),
        ("a: " + "9" * 5000, ", line 1: '" + "9" * 40 + "...' is no value"),
        ("\n\nquestions: {x: {kind: guess}}\n", ", line 3: questions.x.kind is 'guess'"),
    ],
)
def test_what_is_wrong_is_said_with_its_line(tmp_path: Path, content: str, said: str) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_text(content)
    with pytest.raises(InvalidData) as caught:
        load_rubric(bad)
    assert caught.value.message.startswith(f"{bad}{said}")
    assert not re.search("token|scanner|stream|constructor|<", caught.value.message)


def test_a_folder_is_no_rubric(tmp_path: Path) -> None:
    with pytest.raises(InvalidData, match="is a folder") as caught:
        load_rubric(tmp_path)
    assert (caught.value.exit_code, caught.value.code) == (2, "invalid-rubric")


@pytest.mark.parametrize(
    "content", [b"", b"5", b"- a", b"\xff\xfe\x00", b"[" * 5000, b"questions: {}", b"a: &a [*a]"]
)
def test_what_is_no_rubric_at_all_is_refused(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.yaml"
    bad.write_bytes(content)
    with pytest.raises(InvalidData) as caught:
        load_rubric(bad)
    assert caught.value.code == "invalid-rubric"


def test_a_rubric_that_is_not_there() -> None:
    with pytest.raises(NotFound):
        load_rubric(Path("nowhere.yaml"))
