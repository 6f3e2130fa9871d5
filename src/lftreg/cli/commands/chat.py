"""`lftreg chat`"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.errors import InvalidData, UsageError

if TYPE_CHECKING:
    from lftreg.models.generate import Decoding, Speaker
    from lftreg.plugins.types import Message

HELP = "/use REF switches, /reset forgets, /quit or Ctrl-D ends"


@define("chat", examples=("lftreg chat advisor_desk", "lftreg chat customer_support base:starter"))
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@click.option(
    "--max-tokens", type=int, default=128, show_default=True, metavar="N", help="The longest answer."
)
@click.option(
    "--temperature",
    type=float,
    default=0.0,
    show_default=True,
    metavar="X",
    help="0 takes the likeliest word.",
)
@click.option(
    "--top-p",
    type=float,
    default=1.0,
    show_default=True,
    metavar="X",
    help="Sample from this share of the likely.",
)
@click.option("--seed", type=int, default=0, show_default=True, metavar="N", help="Seed of the sampling.")
def command(
    context: Context, refs: Sequence[str], max_tokens: int, temperature: float, top_p: float, seed: int
) -> None:
    """Talk with an adapter.

    Given several, the first one answers and /use switches to another; the conversation goes on.
    """
    if context.out.json:
        raise UsageError("chat has no --json", "`lftreg generate --json` answers for scripts")
    from lftreg.models.generate import Decoding, Speaker

    decoding = Decoding(max_tokens, temperature, top_p, seed)
    speaker = Speaker(list(dict.fromkeys(refs)), context.registry)
    context.out.note(f"{speaker.refs[0]} is listening. {HELP}")
    Conversation(context, speaker, decoding).run()


class Conversation:
    """The turns so far, who answers, and the loop that reads and replies."""

    def __init__(self, context: Context, speaker: Speaker, decoding: Decoding) -> None:
        self.context = context
        self.speaker = speaker
        self.decoding = decoding
        self.ref = speaker.refs[0]
        self.turns: list[Message] = []

    def run(self) -> None:
        """Read and reply until the input ends; Ctrl-C ends an answer, or an empty line's wait."""
        if sys.stdin.isatty():
            import readline  # noqa: F401 line editing and history for input()
        while True:
            try:
                line = input(f"{self.ref}> " if sys.stdin.isatty() else "").strip()
            except EOFError:
                return
            if line in ("/quit", "/exit"):
                return
            if line.startswith("/"):
                self._obey(line)
            elif line:
                self._reply(line)

    def _obey(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "/reset":
            self.turns.clear()
            self.context.out.note("forgotten")
        elif word == "/use" and rest.strip() in self.speaker.refs:
            self.ref = rest.strip()
        elif word == "/use":
            self.context.out.note(f"here are {', '.join(self.speaker.refs)}")
        else:
            self.context.out.note(HELP)

    def _reply(self, line: str) -> None:
        from lftreg.plugins.types import Message

        self.turns.append(Message("user", line))
        try:
            answer = self.speaker.reply(self.ref, self.turns, self.decoding, self._say)
        except InvalidData as error:
            self.turns.pop()
            self.context.out.warn(f"{error.message}; /reset forgets the conversation so far")
            return
        except KeyboardInterrupt:
            self.turns.pop()
            self._say("\n")
            return
        self._say("\n")
        self.turns.append(Message("assistant", answer.text))

    def _say(self, text: str) -> None:
        self.context.out.raw(text)
        self.context.out.flush()
