"""The check for authors finds every rule that a domain can break."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from lftreg.plugins.check import IMPORT_LIMIT, check_domain, check_import
from lftreg.plugins.types import Domain, Example, Split

from .conftest import Install

COUNTER = itertools.count()


def _good(split: Split, seed: int) -> Iterator[Example]:
    yield Example.pair(f"{split} question", "answer", fact="one")


def _random(split: Split, seed: int) -> Iterator[Example]:
    yield Example.pair(f"{split} question {next(COUNTER)}", "answer")


def _leaky(split: Split, seed: int) -> Iterator[Example]:
    yield from _good(split, seed)
    yield Example.pair("the same question", f"answer for {split}")


def _empty(split: Split, seed: int) -> Iterator[Example]:
    if split != "validation":
        yield from _good(split, seed)


def _strange(split: Split, seed: int) -> list[Example]:
    return ["a text"]  # type: ignore[list-item]


def _failing(split: Split, seed: int) -> Iterator[Example]:
    raise FileNotFoundError("inbox.mbox")


def _mismarked(split: Split, seed: int) -> Iterator[Example]:
    yield from _good(split, seed)
    if split == "test":
        yield Example.pair("another", "answer", fact="never taught", seen=True)


def test_a_good_domain_has_no_problem() -> None:
    assert check_domain(Domain("good", "s", _good)) == []


@pytest.mark.parametrize(
    ("build", "problem"),
    [
        (_random, "gives other train examples for the same seed"),
        (_leaky, "has 1 prompts in both train and validation, such as 'the same question'"),
        (_empty, "has no validation examples"),
        (_strange, "yields a str for train, and no Example"),
        (_failing, "does not build: FileNotFoundError: inbox.mbox"),
        (_mismarked, "marks 1 test rows wrongly as seen or unseen, such as fact 'never taught'"),
    ],
)
def test_a_broken_rule_is_named(build: Callable[[Split, int], Iterable[Example]], problem: str) -> None:
    assert problem in check_domain(Domain("bad", "s", build))


def test_a_module_that_imports_torch_is_told_of(install: Install) -> None:
    install("lftreg-heavy", "import torch.version as _\n")
    assert "imports torch; import it inside the function that needs it" in check_import(
        "lftreg_heavy", runs=1
    )


def test_a_slow_module_is_told_of(install: Install) -> None:
    install("lftreg-slow", f"import time\ntime.sleep({IMPORT_LIMIT * 4})\nprint('noise')\n")
    (problem,) = check_import("lftreg_slow", runs=1)
    assert problem.endswith("ms to import; 50 are enough")


def test_a_module_that_cannot_be_imported_has_no_cost(site: Path) -> None:
    assert check_import("nothing_here", runs=1) == []
