"""The rules that a plugin has to keep, checked by using it. For authors of plugins, and our own tests."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from collections.abc import Iterable, Iterator

from lftreg.plugins.types import SPLITS, Domain, Example, Split

IMPORT_LIMIT = 0.050  # seconds; every command that asks plugins pays for all of them
HEAVY = ("torch", "transformers", "peft", "accelerate")
_TIMED_IMPORT = """
import importlib, json, sys, time
import lftreg.plugins.spec
module, sys.path, heavy = json.loads(sys.stdin.read())
printed, sys.stdout = sys.stdout, sys.stderr
started = time.perf_counter()
importlib.import_module(module)
seconds = time.perf_counter() - started
print(json.dumps([seconds, [name for name in heavy if name in sys.modules]]), file=printed)
"""


def check_import(module: str, runs: int = 3) -> list[str]:
    """What is wrong with importing a plugin: too slow, or it loads torch or its friends.

    Each run is a process of its own; the fastest counts. A module that cannot be imported has
    no cost to speak of: the host's faults tell of that.
    """
    fastest, loaded = float("inf"), []
    for _ in range(runs):
        done = subprocess.run(
            [sys.executable, "-c", _TIMED_IMPORT],
            input=json.dumps([module, sys.path, HEAVY]),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return []
        seconds, loaded = json.loads(done.stdout)
        fastest = min(fastest, seconds)
    problems = [f"imports {name}; import it inside the function that needs it" for name in loaded]
    if fastest > IMPORT_LIMIT:
        problems.append(f"takes {fastest * 1000:.0f} ms to import; {IMPORT_LIMIT * 1000:.0f} are enough")
    return problems


def check_domain(domain: Domain, seed: int = 0) -> list[str]:
    """What is wrong with a domain, as sentences that go on from its name; nothing if it is right.

    Whatever its `build` raises is one of them: it is a stranger's code.
    """
    try:
        splits = {split: tuple(domain.build(split, seed)) for split in SPLITS}
        again = {split: tuple(domain.build(split, seed)) for split in SPLITS}
    except Exception as error:  # noqa: BLE001 a plugin may raise anything
        return [f"does not build: {type(error).__name__}: {error}"]
    return [*_broken_rules(splits, again)]


def _broken_rules(
    splits: dict[Split, tuple[Example, ...]], again: dict[Split, tuple[Example, ...]]
) -> Iterator[str]:
    for split in SPLITS:
        strangers = [row for row in splits[split] if not isinstance(row, Example)]
        if strangers:
            yield f"yields a {type(strangers[0]).__name__} for {split}, and no Example"
            return
        if _digest(splits[split]) != _digest(again[split]):
            yield f"gives other {split} examples for the same seed"
    for split in ("train", "validation"):
        if not splits[split]:
            yield f"has no {split} examples"
    prompts = {split: {_prompt(row) for row in splits[split]} for split in SPLITS}
    for one, other in itertools.combinations(SPLITS, 2):
        shared = prompts[one] & prompts[other]
        if shared:
            yield f"has {len(shared)} prompts in both {one} and {other}, such as {min(shared)!r}"
    taught = {row.fact for row in splits["train"] if row.fact is not None}
    wrong = [row.fact for row in splits["test"] if row.fact is not None and row.seen != (row.fact in taught)]
    if wrong:
        yield f"marks {len(wrong)} test rows wrongly as seen or unseen, such as fact {wrong[0]!r}"


def _prompt(row: Example) -> str:
    """All that is said before the last answer."""
    return "\n".join(message.content for message in row.messages[:-1])


def _digest(rows: Iterable[Example]) -> str:
    digest = hashlib.sha256()
    for row in rows:
        digest.update(repr(row).encode())
    return digest.hexdigest()
