"""`lftreg chat`"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from lftreg.cli.command import define
from lftreg.cli.context import Context
from lftreg.cli.options import DECODING, QUANTIZE, TRUST
from lftreg.errors import InvalidData, UsageError

if TYPE_CHECKING:
    from lftreg.models.generate import Decoding, Speaker
    from lftreg.plugins.types import Message

HELP = "/use REF switches, /reset forgets, /quit or Ctrl-D ends"


@define("chat", examples=("lftreg chat advisor_desk", "lftreg chat customer_support base:starter"))
@click.argument("refs", nargs=-1, required=True, metavar="REF...")
@DECODING
@QUANTIZE
@TRUST
def command(
    context: Context, refs: Sequence[str], quantize: str | None, trust_remote_code: bool, **decoding: Any
) -> None:
    """Talk with an adapter.

    Given several, the first one answers and /use switches to another; the conversation goes on.
    """
    if context.out.json:
        raise UsageError("chat has no --json", "`lftreg generate --json` answers for scripts")
    from lftreg.models.generate import Decoding, Speaker

    chosen = Decoding(**decoding)
    unique = list(dict.fromkeys(refs))
    speaker = Speaker(unique, context.registry, quantize=quantize, trust_code=trust_remote_code)
    context.out.note(f"{speaker.refs[0]} is listening. {HELP}")
    Conversation(context, speaker, chosen).run()


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
