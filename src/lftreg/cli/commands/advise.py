"""`lftreg advise`"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from lftreg.advice.judge import Flip, Judgement, complete, flips, judge
from lftreg.advice.measured import Finding, find, read_comparison
from lftreg.advice.rubric import Answer, Rubric, load_rubric
from lftreg.advice.rubric_file import rubric_text
from lftreg.cli import advice_view
from lftreg.cli.command import Command
from lftreg.cli.context import Context
from lftreg.cli.questions import ask_rest, option_of
from lftreg.errors import LftregError, UsageError

RUBRIC = "lftreg.rubric"  # where click's context holds the rubric whose questions are the options


class _Advise(Command):
    """A command whose options are its own and the questions of the rubric that the line names."""

    def __init__(self, *args: Any, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self.own = list(self.params)
        self.take(load_rubric())

    def take(self, rubric: Rubric) -> None:
        """Offer the questions of a rubric. Raises UsageError for one whose name is an option already."""
        taken = {word for option in self.own for word in (*option.opts, *option.secondary_opts)} | {"--help"}
        for question in rubric.questions.values():
            if clash := taken & set(question.options):
                raise UsageError(
                    f"the rubric's question {question.name!r} would be {min(clash)}, which means something else",
                    "give the question another name",
                    code="invalid-rubric",
                )
        self.params = [*map(option_of, rubric.questions.values()), *self.own]

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        named = _named(args)
        try:
            rubric = load_rubric(named)
            self.take(rubric)
        except LftregError:
            if not ctx.resilient_parsing:  # while a line is completed, nobody wants to hear of it
                raise
            rubric = load_rubric()
        ctx.meta[RUBRIC] = rubric
        return super().parse_args(ctx, args)


def _named(args: list[str]) -> Path | None:
    """The file behind --rubric, the last one as click takes it: its questions have to be known to read the rest."""
    found = None
    for place, word in enumerate(args):
        if word == "--":
            break
        if word.startswith("--rubric="):
            found = word.removeprefix("--rubric=")
        elif word == "--rubric" and place + 1 < len(args):
            found = args[place + 1]
    return Path(found) if found else None


@click.command(
    "advise",
    cls=_Advise,
    examples=(
        "lftreg advise",
        "lftreg advise --must-cite --changes weekly --documents 400 --examples none --assume-unknown",
        "lftreg advise --from-compare comparison.json",
        "lftreg advise --print-rubric",
        "lftreg advise --rubric ./rubric.yaml --explain",
    ),
)
@click.option("--assume-unknown", is_flag=True, help="Ask nothing: what is not answered here is not known.")
@click.option(
    "--from-compare",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What `lftreg compare --output FILE` measured, which counts more than any answer.",
)
@click.option(
    "--rubric",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Your own questions, weights, gates and thresholds, as YAML.",
)
@click.option(
    "--print-rubric", is_flag=True, help="Print the rubric in force as YAML, to change it for --rubric."
)
@click.option("--explain", is_flag=True, help="Show what each answer adds to each score.")
@click.pass_context
def command(
    ctx: click.Context,
    /,
    assume_unknown: bool,
    from_compare: Path | None,
    rubric: Path | None,
    print_rubric: bool,
    explain: bool,
    **given: Answer | None,
) -> None:
    """Fine-tune, retrieve, both or neither: advice with reasons.

    Answers come from the options, and from questions on a terminal where options leave any out. You are told the
    verdict, the gate that decided, if one did, what each side scored, and which other answer would turn it. Where too
    little is known you are told so, and which questions decide most.

    A comparison on your own questions beats any rubric: --from-compare puts what was measured above it.
    """
    context = ctx.ensure_object(Context)
    if print_rubric:
        text = rubric_text(rubric)
        context.out.result(
            {"rubric": text, "file": None if rubric is None else str(rubric)}, lambda _: context.out.raw(text)
        )
        return
    known: Rubric = ctx.meta[RUBRIC]
    measured = None if from_compare is None else find(read_comparison(from_compare))
    judged = _judged(context, known, given, assume_unknown, measured)
    document = advice_view.document(known, judged, measured)
    if context.out.quiet and not context.out.json:
        context.out.lines([document["verdict"] or "none"])
        return
    context.out.result(
        document, partial(advice_view.render, known, judged, measured, explain or context.out.verbose)
    )


def _judged(
    context: Context,
    rubric: Rubric,
    given: Mapping[str, Answer | None],
    assume_unknown: bool,
    measured: Finding | None,
) -> tuple[Mapping[str, Answer], Judgement, list[Flip]] | None:
    """The rubric's judgement; None where a comparison was given and not a single answer."""
    if measured is not None:
        if all(answer is None for answer in given.values()):
            return None
        assume_unknown = True
    elif not assume_unknown and context.out.can_ask:
        given = ask_rest(context.out, rubric, given)
    answers = complete(rubric, given, assume_unknown=assume_unknown)
    return answers, judge(rubric, answers), flips(rubric, answers)
