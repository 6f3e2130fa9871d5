"""The questions of a rubric: as options of a command, and asked on a terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from lftreg.advice.rubric import NONE, UNKNOWN, Answer, Question, Rubric, said
from lftreg.cli.output import Output

NOT_KNOWN = "not known"


class _Count(click.ParamType):  # type: ignore[type-arg]  # generic since click 8.5 only
    """A number of things: from 1, none, or unknown."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Answer:
        answer = count_of(str(value))
        if answer is None:
            self.fail(f"{value!r} is no whole number, and neither {NONE} nor {UNKNOWN}.", param, ctx)
        return answer


def count_of(text: str) -> Answer | None:
    """A count as it was typed; None where it is none."""
    word = text.strip().lower()
    if word in (NONE, UNKNOWN):
        return 0 if word == NONE else UNKNOWN
    digits = word.replace(",", "").replace("_", "")
    # Longer is no count of anything, and Python refuses to read it.
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) <= 15 else None


def option_of(question: Question) -> click.Option:
    """The option that answers a question; without it the answer is None."""
    given: dict[str, Any] = {"help": question.ask, "default": None}
    if question.kind == "yes_no":
        return click.Option(["/".join(question.options)], is_flag=True, callback=_yes_no, **given)
    if question.kind == "count":
        return click.Option([question.option], type=_Count(), metavar="N|none|unknown", **given)
    return click.Option([question.option], type=click.Choice([*map(str, question.scores), UNKNOWN]), **given)


def _yes_no(ctx: click.Context, option: click.Parameter, value: bool | None) -> str | None:
    return None if value is None else "yes" if value else "no"


def ask_rest(out: Output, rubric: Rubric, given: Mapping[str, Answer | None]) -> dict[str, Answer]:
    """Ask for what was not given. Enter takes the answer in brackets, or leaves open what has none; so does `?`."""
    open_ = [question for name, question in rubric.questions.items() if given.get(name) is None]
    answers = {name: answer for name, answer in given.items() if answer is not None}
    if any(question.default == UNKNOWN for question in open_):
        out.note("Enter where you do not know.\n")
    for place, question in enumerate(open_, 1):
        out.note(
            f"\n{place} of {len(open_)}  {question.ask}"
            if place > 1
            else f"1 of {len(open_)}  {question.ask}"
        )
        answers[question.name] = _ask(out, question)
    if open_:
        out.note("")
    return answers


def _ask(out: Output, question: Question) -> Answer:
    choices = "a number, or none" if question.kind == "count" else ", ".join(map(str, question.scores))
    otherwise = NOT_KNOWN if question.default == UNKNOWN else said(question.default)
    more = "" if question.default == UNKNOWN else ", ?"
    while True:
        text = out.ask(f"  {choices}{more} [{otherwise}]")
        answer = understood(question, text)
        if answer is not None:
            return answer
        out.note(f"  {text!r} is none of them; ? if you do not know, Enter for {otherwise}")


def understood(question: Question, text: str) -> Answer | None:
    """What was typed, as an answer: the beginning of a word will do where it is the only one. None is no answer."""
    word = text.strip().lower()
    if not word:
        return question.default
    if word in ("?", UNKNOWN):
        return UNKNOWN
    if question.kind == "count":
        return count_of(word)
    if word in question.scores:
        return word
    near = [answer for answer in question.scores if str(answer).startswith(word)]
    return near[0] if len(near) == 1 else None
