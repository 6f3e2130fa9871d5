"""`lftreg eval --blind`: a person chooses between two hidden answers, at a terminal."""

from __future__ import annotations

import random
from functools import partial
from typing import TYPE_CHECKING, Any

from lftreg.cli.context import Context
from lftreg.cli.eval_view import chance, told_to
from lftreg.cli.output import clean, wrapped
from lftreg.errors import UsageError
from lftreg.plugins.types import ENOUGH

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.evaluation.evaluate import Asked
    from lftreg.evaluation.hearing import Side
    from lftreg.evaluation.preferences import Pair, Tally
    from lftreg.evaluation.suite import Suite
    from lftreg.registry.records import Choice

KEYS = "1 or 2 takes an answer, t is a tie, s skips, q ends"
PLACES: dict[str, int | None] = {"1": 0, "2": 1, "t": None}


def ask_a_person(context: Context, ref: str, suite: Suite, asked: Asked) -> None:
    """Ask until there is nothing left, or until the person has had enough. Each choice is stored at once."""
    if context.out.json or not context.out.can_ask:
        hint = "run it without --json" if context.out.json else "run it at a terminal"
        raise UsageError("--blind asks a person, and nobody is at this terminal", hint)

    from lftreg.evaluation import preferences
    from lftreg.evaluation.extras import extra
    from lftreg.evaluation.hearing import two_sides

    extra("scipy.stats")  # before anybody has judged anything
    with context.out.progress(f"asking {suite.name}") as progress:
        it, other, suite, answers = two_sides(
            ref, suite, asked, context.registry, told_to(progress, suite.name)
        )
    before = preferences.made_before(context.registry, it, other, suite, asked)
    left = preferences.pairs(
        suite, answers[0], answers[1], frozenset(one.item for one in before), random.Random()
    )
    same = sum(a.strip() == b.strip() for a, b in zip(*answers, strict=True))
    context.out.note(
        f"{len(left)} pairs to choose between, {len(before)} chosen before, {same} where both say the same. {KEYS}."
    )
    if it.digest == other.digest:
        context.out.note(f"{it.ref} and {other.ref} are the same content")
    chosen: list[Choice] = [one.choice for one in before]
    try:
        for number, pair in enumerate(left, start=1):
            key = _choose(context, pair, number, len(left))
            if key == "q":
                break
            if key in PLACES:
                choice = pair.choice(PLACES[key])
                preferences.keep(context.registry, it, other, suite, asked, pair.item, choice)
                chosen.append(choice)
    except (EOFError, KeyboardInterrupt):
        context.out.err.print()  # the cursor stands behind a question
        context.out.note("ended; what was chosen is kept")
    found = preferences.tally(chosen)
    context.out.result(_document(it, other, suite, found), partial(_render, it, other, found))


def _choose(context: Context, pair: Pair, number: int, total: int) -> str:
    """Show a pair, and the key that a person answers with."""
    from rich.text import Text

    console = context.out.err
    room = console.width - 4
    console.print()
    for line in wrapped(f"[{number}/{total}] {clean(pair.prompt)}", room):
        console.print(Text(line, "bold"), soft_wrap=True)
    for place, answer in enumerate(pair.answers, start=1):
        lines = [part for line in clean(answer).split("\n") for part in wrapped(line, room)]
        body = "\n    ".join(lines) if answer.strip() else "(nothing)"
        console.print(Text.assemble((f"  {place} ", "cyan"), body), soft_wrap=True)
    while True:
        key = context.out.ask("which?", fresh=True).lower()[:1]
        if key in (*PLACES, "s", "q"):
            return key
        context.out.note(KEYS)


def _render(it: Side, other: Side, found: Tally, console: Console) -> None:
    console.print(f"{it.ref} {found.it}, {other.ref} {found.other}, ties {found.ties}", soft_wrap=True)
    if found.share is None or found.ci95 is None or found.p is None:
        return
    low, high = found.ci95
    console.print(
        f"{it.ref} is preferred in {found.share:.0%} of the choices (95% interval {low:.0%} to {high:.0%}, "
        f"p {chance(found.p)})",
        soft_wrap=True,
    )
    few = found.it + found.other < ENOUGH
    console.print(
        f"too few choices to name a winner: {ENOUGH} or more are needed"
        if few
        else "no difference beyond chance"
        if found.p >= 0.05
        else f"{it.ref if found.share > 0.5 else other.ref} is preferred, by more than chance",
        soft_wrap=True,
    )


def _document(it: Side, other: Side, suite: Suite, found: Tally) -> dict[str, Any]:
    return {
        "ref": it.ref,
        "against": other.ref,
        "suite": suite.name,
        "suite_digest": suite.digest,
        "preferred": found.it,
        "other": found.other,
        "ties": found.ties,
        "share": found.share,
        "ci95": found.ci95 and list(found.ci95),
        "p": found.p,
    }
