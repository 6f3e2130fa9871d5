"""Careful general education about money, which never recommends anything to anyone."""

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
        name="financial_advisor",
        summary="General education about money: saving, borrowing, investing, and no advice to buy.",
        build=partial(examples, Path(__file__).parent),
        prompts=(
            "What is an emergency fund for?",
            "What does compound interest do to a debt?",
            "Why do people spread savings over many investments?",
            "What is the difference between a share and a bond?",
        ),
        # Six wordings a fact: go by all of their words, and choose well how an answer begins.
        defaults={"prompt_dropout": 0.2, "neftune": 5.0, "opening_weight": 5.0},
    )
