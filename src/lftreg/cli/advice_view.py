"""Advice as it is told: a verdict, its reasons, what would turn it, and what to type."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.advice import measured as m
from lftreg.advice.judge import Contribution, Flip, Judgement, deciding
from lftreg.advice.rubric import SIDES, UNKNOWN, Answer, Rubric, Side, said
from lftreg.cli.tables import Column, money, print_fields, print_table

if TYPE_CHECKING:
    from rich.console import Console

Judged = tuple[Mapping[str, Answer], Judgement, list[Flip]]

SIDE_WORDS: Mapping[Side, str] = {"rag": "RAG", "fine_tune": "fine-tuning"}
VERDICTS = {
    "fine-tune": "fine-tune: an adapter, trained on your examples",
    "rag": "RAG: the model as it is, reading what a search finds in your documents",
    "hybrid": "hybrid: an adapter, and a search in your documents before each answer",
    "prompting": "prompting: the model as it is, and a good prompt",
    "none": "none yet: what is needed is also ruled out",
    "unknown": "too little is known to say",
    None: "not decided: not by what was measured, and no question was answered",
}
# The sides whose answers are reasons for a verdict.
SIDES_OF: Mapping[str, tuple[Side, ...]] = {"fine-tune": ("fine_tune",), "rag": ("rag",), "hybrid": SIDES}
TOLD = 2  # answers of a side that are told as reasons
FLIPS = 3  # flips that are told to people
ASKED = 4  # questions that are told to people as those that decide most
COMPARE = "lftreg compare {ref}--data {data} --docs {docs} --output comparison.json"
TRAIN = ("lftreg cost --data FILE --before", "lftreg train --data FILE --name NAME")
MEASURE = (
    COMPARE.format(ref="", data="FILE", docs="FOLDER"),
    "lftreg advise --from-compare comparison.json",
)
NEXT: Mapping[str | None, Sequence[str]] = {
    "fine-tune": (*TRAIN, *MEASURE),
    "rag": MEASURE,
    "hybrid": (*TRAIN, *MEASURE),
    "prompting": ('lftreg generate base:starter "..."', *MEASURE),
}


def document(rubric: Rubric, judged: Judged | None, measured: m.Finding | None) -> dict[str, Any]:
    """Everything, under stable keys; `verdict` is null where nothing was measured to an end and nothing asked.

    Where a comparison decided, no answer turns the verdict, so there are no flips.
    """
    answers, judgement, turning = judged or ({}, None, [])
    decided = measured is not None and measured.decisive
    turning = [] if decided else turning
    return {
        "verdict": verdict(judged, measured),
        "decided_by": _decided_by(judged, measured),
        "scores": None if judgement is None else dict(judgement.scores),
        "gates": [] if judgement is None else _gates(judgement),
        "missing": [] if judgement is None else list(judgement.missing),
        "reasons": reasons(rubric, judged, measured),
        "flips": [
            {"changes": dict(f.changes), "options": typed(rubric, f.changes), "verdict": f.verdict} for f in turning
        ],
        "ask_first": [] if judgement is None or decided else _ask_first(rubric, answers, judgement),
        "known": None if judgement is None else dict(judgement.known),
        "answers": dict(answers),
        "contributions": [] if judgement is None else list(map(_contribution, judgement.contributions)),
        "measured": None if measured is None else _measured(measured),
        "next": next_commands(rubric, judged, measured),
        "sources": [
            {"name": name, "cite": source.cite, "finds": source.finds} for name, source in rubric.sources.items()
        ],
    }  # fmt: skip


def verdict(judged: Judged | None, measured: m.Finding | None) -> str | None:
    """What was measured counts more than what was asked."""
    if measured is not None and measured.verdict is not None:
        return measured.verdict
    return None if judged is None else judged[1].verdict


def _ask_first(rubric: Rubric, answers: Mapping[str, Answer], judgement: Judgement) -> list[dict[str, Any]]:
    """The open questions that decide most, where too little is known of a side."""
    if not judgement.unsure:
        return []
    return [
        {
            "question": name,
            "option": rubric.questions[name].option,
            "ask": rubric.questions[name].ask,
            "turns": share,
        }
        for name, share in deciding(rubric, answers).items()
        if share
    ]


def _decided_by(judged: Judged | None, measured: m.Finding | None) -> str | None:
    if measured is not None and measured.decisive:
        return "comparison"
    if judged is None:
        return None
    if judged[1].verdict == "unknown":
        return None
    return "gate" if judged[1].decided else "scores"


def _gates(judgement: Judgement) -> list[dict[str, Any]]:
    return [
        {
            "name": gate.name, "effect": gate.effect, "side": gate.side, "because": gate.because,
            "decided": gate.name in judgement.decided,
        }
        for gate in judgement.gates
    ]  # fmt: skip


def _contribution(one: Contribution) -> dict[str, Any]:
    return {
        "question": one.question.name, "answer": one.answer, "side": one.question.side, "worth": one.worth,
        "weight": one.question.weight, "adds": round(one.adds, 9),
    }  # fmt: skip


def _measured(found: m.Finding) -> dict[str, Any]:
    comparison = found.comparison
    return {
        "verdict": found.verdict,
        "decisive": found.decisive,
        "why_not": found.why or None,
        "arm": found.best.name,
        "n": found.best.n,
        "metric": comparison.metric,
        "quality": found.best.quality,
        "beyond_base": list(found.beyond_base),
        "over_base": _gap(found.over_base),
        "over_next": _gap(found.over_next),
        "cost_per_1000": {name: arm.cost_per_1000 for name, arm in comparison.arms.items()},
        "break_even": dict(comparison.break_even),
        "ceiling": _gap(found.ceiling),
    }


def _gap(found: m.Gap | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"arm": found.one, "over": found.other, "by": found.by, "ci95": found.ci95, "paired": found.paired}


def typed(rubric: Rubric, answers: Mapping[str, Answer]) -> list[str]:
    """Answers as they are typed."""
    return [rubric.questions[name].typed(answer) for name, answer in answers.items()]


def reasons(rubric: Rubric, judged: Judged | None, measured: m.Finding | None) -> list[str]:
    """Sentences, those that decided first. Where a comparison decided, of the rubric only where it differs."""
    found = list(_measured_reasons(measured, judged)) if measured is not None else []
    if judged is None or (measured is not None and measured.decisive):
        return found
    return found + list(_rubric_reasons(rubric, judged))


def _rubric_reasons(rubric: Rubric, judged: Judged) -> Iterator[str]:
    answers, judgement, _ = judged
    gates = sorted(judgement.gates, key=lambda gate: gate.name not in judgement.decided)
    for gate in gates:
        yield f"{gate.because} (gate {gate.name}{', which decided' if gate.name in judgement.decided else ''})"
    for missing in judgement.missing:
        yield f"Missing: {missing}."
    for side in judgement.unsure:
        yield (
            f"Too little is known of {SIDE_WORDS[side]}: {judgement.known[side]:.0%} of what speaks for it or against "
            f"it was answered, and it takes {rubric.known:.0%}."
        )
    if judgement.verdict == "prompting":
        yield f"No side that is open is worth it: that takes a score of {rubric.either:g}."
    for side in SIDES_OF.get(judgement.verdict, ()):
        mine = [one for one in judgement.contributions if one.question.side == side and one.answer != UNKNOWN]
        for one in sorted(mine, key=lambda one: -one.adds)[:TOLD]:
            if one.adds > 0:
                yield f"{one.question.matters} ({one.question.typed(one.answer)})"
    if unknown := [rubric.questions[name].option for name, answer in answers.items() if answer == UNKNOWN]:
        yield f"Not known, and counted as {rubric.unknown:g}: {', '.join(unknown)}."


def _measured_reasons(found: m.Finding, judged: Judged | None) -> Iterator[str]:
    comparison, best = found.comparison, found.best
    of = f"{best.n} questions of {comparison.data}"
    if found.decisive:
        over = [
            f"{m.interval_words(g)} over {m.WORDS[g.other]}"
            for g in _different(found.over_next, found.over_base)
        ]
        yield (
            f"Measured on {of}: {m.WORDS[best.name]} answers best, {comparison.metric} {best.quality:.3f}, "
            f"{' and '.join(over)}."
        )  # fmt: skip
    else:
        falls = (
            "so the rubric decides" if judged is not None else "and no question of the rubric was answered"
        )
        yield f"Measured on {of}, and not decided: {found.why}; {falls}."
        if found.exhausted:
            yield "Those are all that the data holds out: more are held out of more rows."
        if found.beyond_base:
            yield f"Better than the bare base beyond chance: {', '.join(m.WORDS[name] for name in found.beyond_base)}."
    costs = {name: arm.cost_per_1000 for name, arm in comparison.arms.items() if name != m.ORACLE}
    if known := [f"{money(cost)} by {m.WORDS[name]}" for name, cost in costs.items() if cost is not None]:
        yield f"A thousand answers cost {', '.join(known)}."
    yield from _break_even(comparison)
    if found.ceiling is not None:
        yield _bottleneck(found.ceiling, comparison, best)
    if found.verdict is not None and judged is not None:
        if judged[1].verdict not in (found.verdict, "unknown"):
            yield f"The rubric alone would say {judged[1].verdict}."
        for gate in judged[1].gates:
            if gate.effect == "needs" and gate.side not in SIDES_OF.get(found.verdict, ()):
                yield f"Quality does not measure this, and it still holds: {gate.because} (gate {gate.name})"


def _different(*gaps: m.Gap | None) -> Iterator[m.Gap]:
    seen = set()
    for found in gaps:
        if found is not None and found.other not in seen:
            seen.add(found.other)
            yield found


def _break_even(comparison: m.Comparison) -> Iterator[str]:
    if "adapter" not in comparison.arms:
        return
    for arm in ("rag", "few_shot"):
        count = comparison.break_even.get(arm)
        if count is not None:
            yield f"Training is paid back after {count:,.0f} queries, against {m.WORDS[arm]}."


def _bottleneck(ceiling: m.Gap, comparison: m.Comparison, best: m.Arm) -> str:
    oracle, rag = comparison.arms[ceiling.one], comparison.arms[ceiling.other]
    recall = f"; the search finds it among 5 for {rag.recall['5']:.0%}" if "5" in rag.recall else ""
    over = "" if oracle.n == rag.n else f", on the {oracle.n} of {rag.n} questions that the documents answer"
    told = (
        f"Retrieval is the bottleneck of RAG: with the right passage the base gains {m.interval_words(ceiling)} over "
        f"search{over}{recall}."
    )
    below = oracle.quality < best.quality
    return told + (
        f" Even so it stays below {m.WORDS[best.name]}." if below else " A better search comes first."
    )


def next_commands(rubric: Rubric, judged: Judged | None, measured: m.Finding | None) -> list[str]:
    """What to type next, filled in where a comparison tells with what."""
    chosen = verdict(judged, measured)
    if measured is None:
        if judged is not None and chosen in ("none", "unknown"):
            return [_found(rubric, judged) if chosen == "none" else _asked_again(rubric, judged[0])]
        return list(NEXT[chosen])
    comparison = measured.comparison
    ref = comparison.ref
    again = COMPARE.format(
        ref=f"{shlex.quote(ref)} " if ref else "", data=shlex.quote(comparison.data), docs=shlex.quote(comparison.docs)
    )  # fmt: skip
    if not measured.decisive:
        measure = [] if measured.exhausted else [again]  # the same few questions would come to the same
        return [*measure, *((MEASURE[-1],) if judged is not None else ("lftreg advise",))]
    if chosen in ("fine-tune", "hybrid") and ref:
        return [f"lftreg alias {shlex.quote(ref)} prod", f"lftreg cost {shlex.quote(ref)}"]
    return [again]


def _found(rubric: Rubric, judged: Judged) -> str:
    """The question asked again, as if what is missing had been found."""
    answers, judgement, turning = judged
    lacking = {name for gate in judgement.gates if gate.effect == "rules_out" for name in gate.when}
    mending = [flip.changes for flip in turning if lacking >= flip.changes.keys()]
    told = {name: answer for name, answer in answers.items() if answer != UNKNOWN}
    words = typed(rubric, {**told, **(mending[0] if mending else {})})
    return " ".join(["lftreg advise", *words, *(["--assume-unknown"] if len(told) < len(answers) else [])])


def _asked_again(rubric: Rubric, answers: Mapping[str, Answer]) -> str:
    """The command that asks, on a terminal, what is not known yet."""
    told = {name: answer for name, answer in answers.items() if answer != UNKNOWN}
    return " ".join(["lftreg advise", *typed(rubric, told)])


def render(
    rubric: Rubric, judged: Judged | None, measured: m.Finding | None, explain: bool, console: Console
) -> None:
    """The verdict and its reasons; with `explain` what each answer added and what the publications found."""
    decided = measured is not None and measured.decisive
    unknown = judged is not None and judged[1].verdict == "unknown"
    whole = reasons(rubric, judged, measured)
    print_fields(
        console,
        {
            "verdict": VERDICTS[verdict(judged, measured)],
            "why": "\n".join(whole),
            "scores": None if judged is None or unknown else _scores(rubric, judged[1]),
            "ask first": None if judged is None or decided else _asks(rubric, judged),
            "would turn": None if judged is None or decided or unknown else _turns(rubric, judged[2]),
        },
    )
    if explain and judged is not None:
        console.print()
        _print_contributions(console, judged[1])
        console.print()
        print_fields(console, {name: f"{one.cite}\n{one.finds}" for name, one in rubric.sources.items()})
    console.print()
    for command in next_commands(rubric, judged, measured):
        console.print(f"  {command}", soft_wrap=True)


def _scores(rubric: Rubric, judgement: Judgement) -> str:
    told = ", ".join(f"{SIDE_WORDS[side]} {judgement.scores[side]:.2f}" for side in SIDES)
    return f"{told} (worth it from {rubric.either:g}, both from {rubric.both:g})"


def _asks(rubric: Rubric, judged: Judged) -> str | None:
    asked = _ask_first(rubric, judged[0], judged[1])[:ASKED]
    return "\n".join(f"{one['option']}: {one['ask']}" for one in asked) or None


def _turns(rubric: Rubric, turning: Sequence[Flip]) -> str:
    if not turning:
        return "nothing short of three other answers"
    lines = [
        f"{' '.join(typed(rubric, flip.changes))}: "
        f"{'too little known' if flip.verdict == 'unknown' else flip.verdict}"
        for flip in turning[:FLIPS]
    ]
    return "\n".join(lines)


def _print_contributions(console: Console, judgement: Judgement) -> None:
    columns = (
        Column("question"), Column("answer"), Column("side", weight=1), Column("worth", right=True),
        Column("weight", right=True), Column("adds", right=True),
    )  # fmt: skip
    rows = [
        [
            one.question.option, said(one.answer), SIDE_WORDS[one.question.side or "rag"], f"{one.worth:.2f}",
            f"{one.question.weight:.2f}", f"{one.adds:.3f}",
        ]
        for one in judgement.contributions
    ]  # fmt: skip
    print_table(console, columns, rows)
