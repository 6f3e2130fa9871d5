"""The rubric of `lftreg advise`: questions, weights, gates and thresholds, read from YAML and proven sound.

What the parts of the file mean is told at its top, in `rubric.yaml` beside this module.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeVar

from lftreg.advice.rubric_file import Lines, parse, refused, rubric_text

Side = Literal["rag", "fine_tune"]
Kind = Literal["choice", "yes_no", "count"]
Word = TypeVar("Word", bound=str)
Answer = str | int  # a word of a choice, yes or no; a number of a count; UNKNOWN of any

SIDES: tuple[Side, ...] = ("rag", "fine_tune")
KINDS: tuple[Kind, ...] = ("choice", "yes_no", "count")
UNKNOWN = "unknown"
NONE = "none"  # how a count of 0 may be said
KNOWN = 0.5  # thresholds.known, where a file leaves it out
_NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Question:
    """A question. `scores` are what an answer is worth, of a count those from a number on; without `side`, none.

    The order of `scores` is that of the answers: neighbours are near each other.
    """

    name: str
    kind: Kind
    ask: str
    matters: str
    default: Answer
    scores: Mapping[Answer, float]
    side: Side | None = None
    weight: float = 0.0
    source: str | None = None

    @property
    def option(self) -> str:
        return "--" + self.name.replace("_", "-")

    @property
    def options(self) -> tuple[str, ...]:
        """Every word of the command line that it takes."""
        return (self.option, f"--no-{self.option[2:]}") if self.kind == "yes_no" else (self.option,)

    def score(self, answer: Answer, unknown: float) -> float:
        """What an answer is worth, from 0 to 1."""
        if answer == UNKNOWN:
            return unknown
        if self.kind != "count":
            return self.scores[answer]
        below = [value for start, value in self.scores.items() if int(start) <= int(answer)]
        return below[-1] if below else 0.0

    def typed(self, answer: Answer) -> str:
        """An answer as it is typed on the command line."""
        if self.kind == "yes_no" and answer != UNKNOWN:
            return self.options[answer == "no"]
        return f"{self.option} {said(answer)}"


@dataclass(frozen=True, slots=True)
class Condition:
    """What an answer must be: one of `among`, below a number, or at least one. What is not known is none of them."""

    among: frozenset[Answer] = frozenset()
    below: int | None = None
    at_least: int | None = None

    def holds(self, answer: Answer) -> bool:
        if answer == UNKNOWN:
            return False
        if self.among:
            return answer in self.among
        number = int(answer)
        return (self.below is None or number < self.below) and (
            self.at_least is None or number >= self.at_least
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The counts at which it begins or ends to hold."""
        return tuple(number for number in (self.below, self.at_least) if number is not None)


@dataclass(frozen=True, slots=True)
class Gate:
    """What decides whatever the scores are: a side that is needed, or one that is ruled out."""

    name: str
    when: Mapping[str, Condition]
    effect: Literal["needs", "rules_out"]
    side: Side
    because: str
    missing: str = ""

    def holds(self, answers: Mapping[str, Answer]) -> bool:
        return all(condition.holds(answers[question]) for question, condition in self.when.items())


@dataclass(frozen=True, slots=True)
class Source:
    """A publication, and what it found."""

    cite: str
    finds: str


@dataclass(frozen=True, slots=True)
class Rubric:
    """See `rubric.yaml`. `both`, `either` and `known` are the thresholds."""

    questions: Mapping[str, Question]
    gates: tuple[Gate, ...]
    sources: Mapping[str, Source]
    both: float
    either: float
    unknown: float
    tie: Side
    known: float = KNOWN


def said(answer: Answer) -> str:
    """An answer in words: a count of 0 is none."""
    return NONE if answer == 0 else str(answer)


def load_rubric(path: Path | None = None) -> Rubric:
    """The rubric of a file, or the built-in one.

    Raises NotFound for a file that is not there, InvalidData (`invalid-rubric`) for one that is no rubric.
    """
    name = "rubric.yaml" if path is None else str(path)
    value, lines = parse(rubric_text(path), name)
    return _Reader(name, lines).rubric(value)


def _plain(value: Any) -> Any:
    """YAML 1.1 reads yes and no as truth values, and null for nothing; here they are words."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return NONE if value is None else value


class _Reader:
    """Turns the values of a file into a rubric, and names the place of whatever is wrong with it."""

    def __init__(self, file: str, lines: Lines) -> None:
        self.file = file
        self.lines = lines

    def rubric(self, value: Any) -> Rubric:
        top = self.table(value, "", {"thresholds", "unknown", "tie", "questions", "gates", "sources"})
        sources = {name: self.source(name, one) for name, one in self.entries(top, "sources")}
        questions = {name: self.question(name, one, sources) for name, one in self.entries(top, "questions")}
        if not questions:
            self.fail("questions", "holds none")
        gates = tuple(self.gate(name, one, questions) for name, one in self.entries(top, "gates"))
        limits = self.table(top.get("thresholds"), "thresholds", {"both", "either", "known"})
        both, either = (self.share(limits.get(key), f"thresholds.{key}") for key in ("both", "either"))
        if either > both:
            self.fail("thresholds", f"has either ({either:g}) above both ({both:g})")
        self.weights(questions)
        self.options(questions)
        return Rubric(
            questions, gates, sources, both, either,
            unknown=self.share(top.get("unknown", 0.5), "unknown"),
            tie=self.one_of(top.get("tie", "rag"), SIDES, "tie"),
            known=self.share(limits.get("known", KNOWN), "thresholds.known"),
        )  # fmt: skip

    def source(self, name: str, value: Any) -> Source:
        place = f"sources.{name}"
        table = self.table(value, place, {"cite", "finds"})
        return Source(
            self.text(table.get("cite"), f"{place}.cite"), self.text(table.get("finds"), f"{place}.finds")
        )

    def question(self, name: str, value: Any, sources: Mapping[str, Source]) -> Question:
        place = f"questions.{name}"
        known = {"kind", "ask", "answers", "default", "side", "weight", "matters", "source"}
        table = self.table(value, place, known)
        if not _NAME.fullmatch(name):
            self.fail(place, "is no name: small letters, figures and single underscores, a letter first")
        kind = self.one_of(table.get("kind"), KINDS, f"{place}.kind")
        side = None if table.get("side") is None else self.one_of(table["side"], SIDES, f"{place}.side")
        if side is None and "weight" in table:
            self.fail(place, "has a weight and no side that it counts for")
        scores = self.scores(table, kind, place, counts=side is not None)
        source = self.text(table["source"], f"{place}.source") if "source" in table else None
        if source is not None and source not in sources:
            self.fail(f"{place}.source", f"names {source!r}, which is not under sources")
        return Question(
            name,
            kind,
            self.text(table.get("ask"), f"{place}.ask"),
            self.text(table.get("matters"), f"{place}.matters"),
            self.answer(table.get("default", UNKNOWN), kind, scores, f"{place}.default"),
            scores,
            side,
            0.0 if side is None else self.share(table.get("weight"), f"{place}.weight"),
            source,
        )

    def scores(
        self, table: Mapping[str, Any], kind: Kind, place: str, *, counts: bool
    ) -> dict[Answer, float]:
        place = f"{place}.answers"
        if kind == "count" and not counts and "answers" not in table:
            return {}
        found = {_plain(key): self.share(value, f"{place}.{_plain(key)}")
                 for key, value in self.mapping(table.get("answers"), place).items()}  # fmt: skip
        if kind == "yes_no" and set(found) != {"yes", "no"}:
            self.fail(place, "must be of yes and no")
        if kind == "choice" and (len(found) < 2 or not all(_is_word(key) for key in found)):
            self.fail(
                place, "must be two words or more, of small letters, figures and dashes, none of them unknown"
            )
        if kind == "count":
            if not found or not all(isinstance(key, int) and key >= 0 for key in found):
                self.fail(place, "must be scores by whole numbers from 0")
            return dict(sorted(found.items()))
        return found

    def answer(self, value: Any, kind: Kind, scores: Mapping[Answer, float], place: str) -> Answer:
        answer: Answer = _plain(value)
        if not isinstance(answer, str | int):
            self.fail(place, "must be a word or a number")
        if answer == UNKNOWN:
            return UNKNOWN
        if kind == "count":
            answer = 0 if answer == NONE else answer
            if not isinstance(answer, int) or answer < 0:
                self.fail(place, f"is {answer!r} and must be a whole number, none or unknown")
        elif answer not in scores:
            self.fail(place, f"is {answer!r} and must be one of {', '.join(map(str, scores))} or unknown")
        return answer

    def gate(self, name: str, value: Any, questions: Mapping[str, Question]) -> Gate:
        place = f"gates.{name}"
        table = self.table(value, place, {"when", "needs", "rules_out", "because", "missing"})
        effects = [effect for effect in ("needs", "rules_out") if effect in table]
        if len(effects) != 1:
            self.fail(place, "must have either needs or rules_out")
        effect: Literal["needs", "rules_out"] = "needs" if effects[0] == "needs" else "rules_out"
        when = {}
        for asked, condition in self.mapping(table.get("when"), f"{place}.when").items():
            if asked not in questions:
                self.fail(f"{place}.when", f"names {asked!r}, which is no question")
            when[asked] = self.condition(condition, questions[asked], f"{place}.when.{asked}")
        if not when:
            self.fail(f"{place}.when", "is empty, so the gate would always hold")
        return Gate(
            name, when, effect, self.one_of(table[effect], SIDES, f"{place}.{effect}"),
            self.text(table.get("because"), f"{place}.because"),
            self.text(table.get("missing"), f"{place}.missing") if "missing" in table else "",
        )  # fmt: skip

    def condition(self, value: Any, question: Question, place: str) -> Condition:
        if question.kind == "count":
            table = self.table(value, place, {"below", "at_least"})
            if not table or not all(type(number) is int and number >= 0 for number in table.values()):
                self.fail(place, "must be {below: N} or {at_least: N}, of a whole number")
            return Condition(below=table.get("below"), at_least=table.get("at_least"))
        wanted = [_plain(one) for one in (value if isinstance(value, list) else [value])]
        for one in wanted:
            if not isinstance(one, str) or one not in question.scores:
                self.fail(place, f"holds {one!r}, which is none of {', '.join(map(str, question.scores))}")
        if not wanted:
            self.fail(place, "is empty")
        return Condition(among=frozenset(wanted))

    def weights(self, questions: Mapping[str, Question]) -> None:
        for side in SIDES:
            total = sum(question.weight for question in questions.values() if question.side == side)
            if not math.isclose(total, 1.0, abs_tol=1e-6):
                self.fail("questions", f"has weights for {side} that add up to {total:g}, not to 1")

    def options(self, questions: Mapping[str, Question]) -> None:
        """No two questions may want the same word of the command line."""
        taken: dict[str, str] = {}
        for question in questions.values():
            for option in question.options:
                if option in taken:
                    self.fail(f"questions.{question.name}", f"wants {option}, as {taken[option]} does")
                taken[option] = question.name

    def entries(self, top: Mapping[str, Any], key: str) -> Iterator[tuple[str, Any]]:
        for name, value in self.mapping(top.get(key, {}), key).items():
            if not isinstance(name, str):
                self.fail(key, f"holds {name!r}, which is no name")
            yield name, value

    def table(self, value: Any, place: str, known: set[str]) -> Mapping[str, Any]:
        table = self.mapping(value, place)
        for key in table:
            if key not in known:
                told = f"has an unknown key {key!r}; known: {', '.join(sorted(known))}"
                self.fail(place, told, at=f"{place}.{key}".lstrip("."))
        return table

    def mapping(self, value: Any, place: str) -> Mapping[Any, Any]:
        if not isinstance(value, dict):
            self.fail(place, "must be keys with values" if value is not None else "is missing")
        return value

    def text(self, value: Any, place: str) -> str:
        if not isinstance(value, str) or not value.strip():
            self.fail(place, "must be a text" if value is not None else "is missing")
        return " ".join(value.split())

    def share(self, value: Any, place: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            self.fail(place, "is missing" if value is None else f"is {value!r} and must be from 0 to 1")
        return float(value)

    def one_of(self, value: Any, known: tuple[Word, ...], place: str) -> Word:
        if value not in known:
            what = "is missing" if value is None else f"is {value!r}"
            self.fail(place, f"{what}; it must be one of {', '.join(known)}")
        return known[known.index(value)]

    def fail(self, place: str, what: str, at: str | None = None) -> NoReturn:
        """Refuse the file at a place, with the line of it or of the nearest key around it."""
        around = place if at is None else at
        while around and around not in self.lines:
            around = around.rpartition(".")[0]
        raise refused(self.file, self.lines.get(around), f"{place or 'the file'} {what}")


def _is_word(value: Any) -> bool:
    return (
        isinstance(value, str) and value != UNKNOWN and re.fullmatch(r"[a-z0-9][a-z0-9-]*", value) is not None
    )
