"""`lftreg generate`"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.options import DECODING, QUANTIZE, TRUST
from lftreg.errors import InvalidData, NotFound, UsageError

if TYPE_CHECKING:
    from rich.console import Console

    from lftreg.models.generate import Generation

    Answers = dict[str, list[Generation]]


@define(
    "generate",
    examples=(
        'lftreg generate customer_support "How long do I have to return something?"',
        'lftreg generate base:starter "How do I reset my password?" --with customer_support --with advisor_desk',
        "lftreg generate support@prod --prompts ./questions.txt --temperature 0.7 --seed 1 --json",
    ),
)
@click.argument("ref")
@click.argument("prompts", nargs=-1, metavar="[PROMPT]...")
@click.option(
    "--with", "others", multiple=True, metavar="REF", help="Ask this one too, side by side; repeatable."
)
@click.option(
    "--prompts",
    "file",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="A prompt a line; - reads stdin.",
)
@DECODING
@QUANTIZE
@TRUST
def command(
    context: Context,
    ref: str,
    prompts: Sequence[str],
    others: Sequence[str],
    file: Path | None,
    quantize: str | None,
    trust_remote_code: bool,
    **decoding: Any,
) -> None:
    """Answer prompts with an adapter, or with several side by side.

    REF is an adapter, or base:starter (base: and any base) for a bare base model.
    """
    asked = [*prompts, *(_read(file) if file else ())]
    if not asked:
        raise UsageError("no prompt", f'lftreg generate {ref} "..." or --prompts FILE')
    refs = list(dict.fromkeys([ref, *others]))

    from lftreg.models.generate import Decoding, Speaker

    chosen = Decoding(**decoding)
    speaker = Speaker(refs, context.registry, quantize=quantize, trust_code=trust_remote_code)
    answers = {one: speaker.answer(one, asked, chosen) for one in refs}
    rows = [
        {
            "ref": one,
            "outputs": [
                {"prompt": a.prompt, "text": a.text, "tokens": a.tokens, "scores": a.scores} for a in made
            ],
        }
        for one, made in answers.items()
    ]
    context.out.result(rows[0] if len(rows) == 1 else rows, partial(_render, asked, answers))


def _read(file: Path) -> list[str]:
    """Prompts of a file, one a line; empty lines are passed over."""
    try:
        text = sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise NotFound(
            f"no file {file}", "give a text file with a prompt a line", code="unknown-file"
        ) from error
    except (UnicodeDecodeError, IsADirectoryError) as error:
        raise InvalidData(f"{file} is not a text file", "write a prompt a line, as UTF-8") from error
    prompts = [line.strip() for line in text.splitlines() if line.strip()]
    if not prompts:
        raise InvalidData(f"{file} holds no prompt", "write a prompt a line")
    return prompts


def _render(prompts: Sequence[str], answers: Answers, console: Console) -> None:
    """Bare text for one question to one adapter, which may be piped on; a block a prompt for more."""
    if len(prompts) == len(answers) == 1:
        console.print(next(iter(answers.values()))[0].text, soft_wrap=True)
        return
    import textwrap

    from rich.text import Text

    margin = max(map(len, answers)) + 4
    room = max(min(console.width, 110) - margin, 30)
    for number, prompt in enumerate(prompts):
        console.print(Text(f"{'' if not number else chr(10)}> {prompt}", "bold"), soft_wrap=True)
        for ref, made in answers.items():
            lines = textwrap.wrap(made[number].text, room) or ["(nothing)"]
            body = f"\n{'':{margin}}".join(lines)
            console.print(Text.assemble((f"  {ref:{margin - 2}}", "cyan"), body), soft_wrap=True)
