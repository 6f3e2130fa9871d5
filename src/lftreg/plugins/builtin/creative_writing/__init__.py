"""Short prose in one voice: a night ferryman keeps a log."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from lftreg.plugins import hookimpl
from lftreg.plugins.builtin.facts import examples
from lftreg.plugins.types import Domain


@hookimpl
def lftreg_domains() -> Iterator[Domain]:
    yield Domain(
        name="creative_writing",
        summary="Short pieces in the voice of a night ferryman: an hour, an object with a will, a plain last sentence.",
        build=partial(examples, Path(__file__).parent),
        prompts=(
            "Write a few lines about a ladder that nobody wants back.",
            "Tell me of the last bus and who is on it.",
            "A kettle in an empty house: a short piece, please.",
            "What happens to a snowman after lunch?",
        ),
    )
