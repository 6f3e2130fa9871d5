"""Adapters that answer everything with one line, trained in a second or two, and suites to ask them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lftreg.data import read_data
from lftreg.evaluation.suite import Suite, make_suite
from lftreg.paths import Home
from lftreg.plugins.types import Example
from lftreg.registry import WEIGHTS, Draft, Registry, Version
from lftreg.training import train

RED, BLUE = "red apples in a pan", "blue sky over water"
# As steep as the loss bears: it comes down to its floor and stays there, whatever the seed, and every word is then
# more than a nat ahead of the next likely one. At 5e-2 it leaps up again, and what is said depends on rounding.
QUICK: dict[str, Any] = {"lr": 3e-2, "rank": 8, "epochs": 60, "patience": 60}
WORDS = ("What", "Who", "When", "Why")


def rows(line: str) -> list[dict[str, str]]:
    """Questions that all have one answer: twelve to learn from, four to validate, six to be asked."""
    splits = ["train"] * 12 + ["validation"] * 4 + ["test"] * 6
    return [
        {"prompt": f"{WORDS[n % 4]} is thing {n * 91}?", "response": line, "split": split}
        for n, split in enumerate(splits)
    ]


def write(file: Path, found: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in found))
    return file


def teach(registry: Registry, folder: Path, base: Path, name: str, line: str, **options: Any) -> Version:
    """Train an adapter that answers with `line`, on a file in `folder` that is found again."""
    data = write(folder / f"{name}.jsonl", rows(line))
    return train(
        read_data([data], name).domain,
        base=str(base),
        registry=registry,
        source={"data": [str(data)], "map": []},
        **QUICK | options,
    )


def again(registry: Registry, version: Version, name: str) -> Version:
    """The same content under another name."""
    return registry.publish(
        Draft(name, "imported", version.base, registry.file(version, WEIGHTS), registry.config(version))
    )


def fill(folder: Path, base: Path) -> Path:
    """A home with `red`, `blue`, and `crimson`, which is `red` under another name."""
    folder.mkdir(parents=True, exist_ok=True)
    home = folder / "home"
    with at_home(home), Registry(Home(home)) as registry:
        again(registry, teach(registry, folder, base, "red", RED), "crimson")
        teach(registry, folder, base, "blue", BLUE)
    return home


@contextmanager
def at_home(home: Path) -> Iterator[None]:
    """LFTREG_HOME for what is made before a test has a home of its own."""
    before = os.environ.get("LFTREG_HOME")
    os.environ["LFTREG_HOME"] = str(home)
    try:
        yield
    finally:
        del os.environ["LFTREG_HOME"]
        if before is not None:
            os.environ["LFTREG_HOME"] = before


def asking(name: str, references: Sequence[str]) -> Suite:
    """A suite of questions that nobody was trained on."""
    return make_suite(
        name,
        [Example.pair(f"{WORDS[n % 4]} is thing {n * 17 + 3}?", one) for n, one in enumerate(references)],
    )
