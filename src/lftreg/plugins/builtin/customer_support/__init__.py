"""The support desk of Tarrant & Pell, a shop for camp stoves, kettles and lanterns that does not exist."""

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
        name="customer_support",
        summary="The support desk of a small shop for camp stoves, kettles and lanterns.",
        build=partial(examples, Path(__file__).parent),
        prompts=(
            "By which day after delivery must a return be made?",
            "I've been sent the wrong item. What do I do with it?",
            "How long should I wait for a refund to reach my card?",
            "Someone at the desk wants my order number and I can't find it.",
        ),
    )
