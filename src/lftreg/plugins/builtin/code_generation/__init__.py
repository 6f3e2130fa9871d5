"""Small Python tasks, each with a solution that its asserts prove."""

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
        name="code_generation",
        summary="Small Python functions and classes, each written to the letter of a one-line request.",
        build=partial(examples, Path(__file__).parent),
        prompts=(
            "In Python, limit a value to low..high with a function clamp_to(value, low, high).",
            "Write is_palindrome(text), which ignores case and spaces.",
            "Give me a function mean(numbers) that raises ValueError for an empty list.",
            "How do I count the words of a text with word_counts(text)?",
        ),
    )
