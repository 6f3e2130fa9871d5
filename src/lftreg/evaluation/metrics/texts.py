"""What metrics of texts share: words, and how much of one text is in another."""

from __future__ import annotations

import re
from collections.abc import Callable

from lftreg.plugins.types import Outputs

_WORD = re.compile(r"\w+")


def words(text: str) -> list[str]:
    """Runs of letters, figures and underscores in lower case, in any script. Chinese is not cut into words."""
    return _WORD.findall(text.lower())


def by_reference(outputs: Outputs, score: Callable[[str, str], float]) -> tuple[float | None, ...]:
    """`score(answer, reference)` of every item, None where there is no reference."""
    pairs = zip(outputs.answers, outputs.references, strict=True)
    return tuple(score(answer, reference) if reference else None for answer, reference in pairs)


def f1(common: int, one: int, other: int) -> float:
    """The harmonic mean of precision and recall, of `common` parts among `one` and `other`."""
    return 2 * common / (one + other) if common else 0.0


def sequence_f1(one: str, other: str) -> float:
    """ROUGE-L F1 (Lin 2004) of the words of two texts, from 0 to 1, the same both ways.

    Texts without any word agree where they are equal.
    """
    first, second = words(one), words(other)
    if not first and not second:
        return float(one.strip() == other.strip())
    return f1(longest_common(first, second), len(first), len(second))


def longest_common(one: list[str], other: list[str]) -> int:
    """The length of the longest common subsequence, a row of the table in one integer (Crochemore et al. 2001).

    A bit that is zero marks a place in `one` up to which one word more is common.
    """
    at: dict[str, int] = {}
    for place, word in enumerate(one):
        at[word] = at.get(word, 0) | 1 << place
    full = (1 << len(one)) - 1
    row = full
    for word in other:
        match = row & at.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return len(one) - row.bit_count()
