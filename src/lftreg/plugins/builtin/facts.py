"""Domains written in TOML: one answer, and many ways to ask for it.

A `[[fact]]` (or `[[task]]`, or `[[piece]]`, whatever a domain is made of) has an `id`, an `answer`, several
`train` wordings to learn from, and one wording each for `validation` and `test`. An `[[unseen]]` one has
`id`, `answer` and `test` only: training never sees it, and nobody should expect an adapter to know it.
"""

from __future__ import annotations

import random
import tomllib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from lftreg.plugins.types import Example, Split

WORDS = ("fact", "task", "piece")  # what a domain may call its own


def examples(folder: Path, split: Split, seed: int) -> Iterator[Example]:
    """The rows of a split from all TOML files of a folder.

    Training rows are shuffled by `seed`; validation and test keep the order of the files, and
    test ends with the unseen facts of all of them.
    """
    facts, unseen = _read(folder)
    if split == "train":
        rows = [_row(fact, prompt) for fact in facts for prompt in fact["train"]]
        random.Random(seed).shuffle(rows)
        yield from rows
        return
    yield from (_row(fact, fact[split]) for fact in facts)
    if split == "test":
        yield from (_row(fact, fact["test"], seen=False) for fact in unseen)


def _row(fact: dict[str, Any], prompt: str, seen: bool = True) -> Example:
    return replace(
        Example.pair(prompt, fact["answer"].strip(), fact=fact["id"], seen=seen),
        tests=fact.get("asserts", ""),
    )


@cache
def _read(folder: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    facts: list[dict[str, Any]] = []
    unseen: list[dict[str, Any]] = []
    for path in sorted(folder.glob("*.toml")):
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        facts += [fact for word in WORDS for fact in tables.get(word, [])]
        unseen += tables.get("unseen", [])
    return facts, unseen
