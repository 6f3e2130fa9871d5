from __future__ import annotations

from lftreg.data.overlap import find_overlap
from lftreg.plugins.types import Example

LONG = " ".join(f"word{n}" for n in range(30))


def test_thirteen_words_in_a_row_are_an_overlap_and_twelve_are_none() -> None:
    words = LONG.split()
    twelve, thirteen = " ".join(words[5:17]), " ".join(words[5:18])
    held_out = [Example.passage(f"begin {part} end of this") for part in (twelve, thirteen)]
    found = find_overlap({"train": [Example.passage(LONG)], "validation": [], "test": held_out})
    assert (found.rows, found.of, found.share) == (1, 2, 0.5)
    assert found.worst is not None
    assert found.worst.held_out is held_out[1]
    assert found.worst.split == "test"
    assert found.worst.shared == 1 / 5


def test_case_and_punctuation_count_for_nothing() -> None:
    other = LONG.upper().replace(" ", ", ")
    assert find_overlap({"train": [Example.passage(LONG)], "test": [Example.passage(other)]}).rows == 1


def test_short_rows_are_compared_whole() -> None:
    train = [Example.pair("Where is it?", "Here."), Example.pair("Who?", "I.")]
    test = [Example.pair("Where is it", "here"), Example.pair("Where is", "it")]
    found = find_overlap({"train": train, "validation": test, "test": []})
    assert (found.rows, found.of) == (1, 2)
    assert found.worst is not None
    assert found.worst.shared == 1


def test_the_worst_pair_is_the_one_that_shares_most() -> None:
    half = " ".join(LONG.split()[:20]) + " and something else altogether"
    train = [Example.passage(half), Example.passage(f"so {LONG}")]
    worst = find_overlap({"train": train, "test": [Example.passage(LONG)]}).worst
    assert worst is not None
    assert worst.train is train[1]
    assert worst.shared == 1
    nothing = find_overlap({"train": train, "test": [], "validation": []})
    assert (nothing.rows, nothing.share, nothing.worst) == (0, 0.0, None)
