"""What a rubric says of some answers: scores, gates, a verdict, and what would turn it."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from lftreg.advice.rubric import SIDES, UNKNOWN, Answer, Gate, Question, Rubric, Side
from lftreg.errors import UsageError

Verdict = Literal["fine-tune", "rag", "hybrid", "prompting", "none", "unknown"]

ALONE: Mapping[Side, Verdict] = {"rag": "rag", "fine_tune": "fine-tune"}
PAIRS = 3  # of those flips that take two answers, so many are told
DRAWS = 200  # of answers to what is not known, by which questions are weighed


@dataclass(frozen=True, slots=True)
class Contribution:
    """What an answer adds to the score of a side: its worth from 0 to 1, times the weight of its question."""

    question: Question
    answer: Answer
    worth: float

    @property
    def adds(self) -> float:
        return self.worth * self.question.weight


@dataclass(frozen=True, slots=True)
class Judgement:
    """`scores` are from 0 to 1. `gates` are those that hold; `decided` names those without which it would be another.

    The verdict is `none` where a side is needed that is ruled out; `missing` says what would have to be found. It is
    `unknown` where no side is known to be worth it, and of one that is open too little is known: `unsure` names
    those, `known` says how much of each side's weight was answered, from 0 to 1.
    """

    verdict: Verdict
    scores: Mapping[Side, float]
    contributions: tuple[Contribution, ...]
    gates: tuple[Gate, ...]
    decided: frozenset[str]
    missing: tuple[str, ...]
    known: Mapping[Side, float]
    unsure: tuple[Side, ...]


@dataclass(frozen=True, slots=True)
class Flip:
    """Answers that would change, and the verdict that comes of it. `distance` grows with how different they are."""

    changes: Mapping[str, Answer]
    verdict: Verdict
    distance: float


@dataclass(frozen=True, slots=True)
class _Sides:
    """What is known of both sides: their scores, how much of each was answered, and which are known well enough."""

    scores: Mapping[Side, float]
    known: Mapping[Side, float]
    sure: frozenset[Side]


def judge(rubric: Rubric, answers: Mapping[str, Answer]) -> Judgement:
    """The verdict on a set of answers, one for every question."""
    contributions = _contributions(rubric, answers)
    sides = _weighed(rubric, contributions)
    gates = tuple(gate for gate in rubric.gates if gate.holds(answers))
    verdict = _verdict(rubric, sides, gates)
    settled = sides.sure | _sides(gates, "needs") | _sides(gates, "rules_out")
    return Judgement(
        verdict,
        sides.scores,
        contributions,
        gates,
        frozenset(gate.name for gate in gates if _verdict(rubric, sides, _without(gates, gate)) != verdict),
        tuple(gate.missing for gate in gates if _conflict(gates) == gate.side and gate.missing),
        sides.known,
        tuple(side for side in SIDES if side not in settled),
    )


def _contributions(rubric: Rubric, answers: Mapping[str, Answer]) -> tuple[Contribution, ...]:
    return tuple(
        Contribution(question, answers[name], question.score(answers[name], rubric.unknown))
        for name, question in rubric.questions.items()
        if question.side is not None
    )


def _weighed(rubric: Rubric, contributions: Iterable[Contribution]) -> _Sides:
    """The weighted sums of each side; rounded, so that no threshold is missed by the last bit of a sum."""
    scores: dict[Side, float] = dict.fromkeys(SIDES, 0.0)
    known: dict[Side, float] = dict.fromkeys(SIDES, 0.0)
    for one in contributions:
        if one.question.side is not None:
            scores[one.question.side] += one.adds
            known[one.question.side] += 0.0 if one.answer == UNKNOWN else one.question.weight
    scores, known = (
        {side: min(1.0, round(value, 9)) for side, value in of.items()} for of in (scores, known)
    )
    return _Sides(scores, known, frozenset(side for side in SIDES if known[side] >= rubric.known))


def _verdict(rubric: Rubric, sides: _Sides, gates: Sequence[Gate]) -> Verdict:
    if _conflict(gates) is not None:
        return "none"
    needed, ruled_out = _sides(gates, "needs"), _sides(gates, "rules_out")
    open_ = [side for side in SIDES if side not in ruled_out]
    worth = {
        limit: [side for side in open_ if side in sides.sure and sides.scores[side] >= limit]
        for limit in (rubric.both, rubric.either)
    }
    if len(open_) == 2 and all(side in needed or side in worth[rubric.both] for side in SIDES):
        return "hybrid"
    chosen = [side for side in open_ if side in needed] or worth[rubric.either]
    if chosen:
        return ALONE[max(chosen, key=lambda side: (sides.scores[side], side == rubric.tie))]
    return "prompting" if sides.sure.issuperset(open_) else "unknown"


def deciding(rubric: Rubric, answers: Mapping[str, Answer]) -> dict[str, float]:
    """The questions that are not answered, those that decide most first.

    Of each the share of DRAWS in which another answer to it alone turns the verdict, while all that is not known is
    answered at random (the total effect of Homma and Saltelli 1996, doi:10.1016/0951-8320(96)00002-6, of a verdict).
    """
    dice = random.Random(0)
    scales = {
        name: list(question.scores) if question.kind != "count" else _ranges(rubric, question)
        for name, question in rubric.questions.items()
        if answers[name] == UNKNOWN
    }
    turned = dict.fromkeys(scales, 0)
    for _ in range(DRAWS):
        drawn = {**answers, **{name: dice.choice(scale) for name, scale in scales.items()}}
        now = judge(rubric, drawn).verdict
        for name, scale in scales.items():
            others = [answer for answer in scale if answer != drawn[name]]
            turned[name] += (
                bool(others) and judge(rubric, {**drawn, name: dice.choice(others)}).verdict != now
            )
    return {name: count / DRAWS for name, count in sorted(turned.items(), key=lambda one: -one[1])}


def _sides(gates: Iterable[Gate], effect: str) -> set[Side]:
    return {gate.side for gate in gates if gate.effect == effect}


def _conflict(gates: Sequence[Gate]) -> Side | None:
    """The side that is both needed and ruled out."""
    return next((side for side in SIDES if side in _sides(gates, "needs") & _sides(gates, "rules_out")), None)


def _without(gates: Sequence[Gate], gone: Gate) -> list[Gate]:
    """The gates without one and those that say the same: two that need retrieval decide together."""
    return [gate for gate in gates if (gate.effect, gate.side) != (gone.effect, gone.side)]


def flips(rubric: Rubric, answers: Mapping[str, Answer]) -> list[Flip]:
    """What would turn the verdict, the nearest first: a single other answer, or two where no single one does.

    Of each question, or pair, the nearest answer is taken for each verdict that it leads to.
    """
    for count in (1, 2):
        found = sorted(_turning(rubric, answers, count), key=lambda flip: flip.distance)
        nearest: dict[tuple[object, ...], Flip] = {}
        for flip in found:
            nearest.setdefault((*flip.changes, flip.verdict), flip)
        if nearest:
            return list(nearest.values())[: None if count == 1 else PAIRS]
    return []


def _turning(rubric: Rubric, answers: Mapping[str, Answer], count: int) -> Iterator[Flip]:
    now = judge(rubric, answers).verdict
    others = {name: _others(rubric, question, answers[name]) for name, question in rubric.questions.items()}
    for names in itertools.combinations(rubric.questions, count):
        for chosen in itertools.product(*(others[name] for name in names)):
            changes = {name: answer for name, (answer, _) in zip(names, chosen, strict=True)}
            verdict = judge(rubric, {**answers, **changes}).verdict
            if verdict != now:
                yield Flip(changes, verdict, sum(distance for _, distance in chosen))


def _others(rubric: Rubric, question: Question, now: Answer) -> list[tuple[Answer, float]]:
    """Every other answer that could matter, and how far it is: 1 from one end of the scale to the other."""
    if question.kind == "count":
        return _other_counts(rubric, question, now)
    scale = list(question.scores)
    return [
        (answer, 0.5 if now == UNKNOWN else abs(place - scale.index(now)) / (len(scale) - 1))
        for place, answer in enumerate(scale)
        if answer != now
    ]


def _other_counts(rubric: Rubric, question: Question, now: Answer) -> list[tuple[Answer, float]]:
    """A number of every range in which counts are worth the same and open the same gates: the one nearest to now."""
    ranges = _ranges(rubric, question)
    if now == UNKNOWN:
        return [(start, 0.5) for start in ranges]
    own = max(place for place, start in enumerate(ranges) if start <= int(now))
    return [
        (start if place > own else ranges[place + 1] - 1, abs(place - own) / (len(ranges) - 1))
        for place, start in enumerate(ranges)
        if place != own
    ]


def _ranges(rubric: Rubric, question: Question) -> list[int]:
    """Where the ranges of counts begin that are worth the same and open the same gates."""
    starts = {0, *map(int, question.scores)}
    for gate in rubric.gates:
        if question.name in gate.when:
            starts.update(gate.when[question.name].numbers)
    return sorted(starts)


def complete(
    rubric: Rubric, given: Mapping[str, Answer | None], *, assume_unknown: bool
) -> dict[str, Answer]:
    """An answer for every question. Raises UsageError that names the options of those without, unless assumed."""
    lacking = [question for name, question in rubric.questions.items() if given.get(name) is None]
    if lacking and not assume_unknown:
        raise UsageError(
            f"not answered: {', '.join(question.option for question in lacking)}",
            "give them, answer questions on a terminal, or let --assume-unknown take them as not known",
            code="unanswered",
        )
    return {name: UNKNOWN if (answer := given.get(name)) is None else answer for name in rubric.questions}
