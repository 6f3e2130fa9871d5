"""Many processes write at once: nothing is lost, nobody is told that the database is locked."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lftreg.registry import Draft, Registry
from tests.registry.writers import ALIASES, NAMES

Make = Callable[..., Draft]
ROOT = Path(__file__).parents[2]
WRITERS, WRITES = (16, 500) if os.environ.get("LFTREG_WRITERS") == "all" else (8, 25)
FRESH = 32 if os.environ.get("LFTREG_WRITERS") == "all" else 8


def together(registry: Registry, *, processes: int, writes: int, weights: Path) -> list[dict[str, Any]]:
    """What each of so many processes was told that it wrote, to one registry."""
    environment = os.environ | {
        "LFTREG_HOME": str(registry.home.root),
        "LFTREG_DATABASE_URL": registry.url,
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "tests.registry.writers", str(weights)]
    running = [
        subprocess.Popen(
            [*command, str(seed), str(writes)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(processes)
    ]
    told = []
    for process in running:
        out, err = process.communicate(timeout=850)
        assert (process.returncode, err) == (0, "")
        told.append(json.loads(out))
    return told


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_what_every_writer_was_told_is_there(registry: Registry, draft: Make) -> None:
    told = together(registry, processes=WRITERS, writes=WRITES, weights=draft().weights)
    done: Counter[str] = Counter()
    for one in told:
        done.update(one["done"])
    here = {version.ref: version for version in registry.list(all_versions=True)}
    assert here.keys() == {ref for one in told for ref in one["made"]}
    assert {v.ref for v in registry.list(removed=True)} == {ref for one in told for ref in one["gone"]}
    for name in NAMES:
        numbers = [v.number for v in registry.list(all_versions=True, name=name)]
        numbers += [v.number for v in registry.list(removed=True, name=name)]
        assert sorted(numbers) == list(range(1, len(numbers) + 1))
    for ref, value in (pair for one in told for pair in one["tags"].items()):
        assert ref not in here or here[ref].tags == {"by": value}
    logged = Counter(entry.action for entry in registry.log())
    assert sum(len(registry.alias_history(name)) for name in NAMES) == logged["alias"]
    assert logged.pop("alias") <= done.pop("alias")  # one that is where it should be does not move
    for name, alias in ((name, alias) for name in NAMES for alias in ALIASES):
        held = [v.number for v in here.values() if v.name == name and alias in v.aliases]
        moves = registry.alias_history(name, alias)
        assert len(held) <= 1
        assert not held or held == [moves[-1].number]  # none where the last one was removed since
    assert len(registry.scores.find()) == done["score"]
    assert logged == done
    assert registry.verify() == []


@pytest.mark.slow
def test_a_fresh_home_that_many_use_first_together(fresh: Registry, draft: Make) -> None:
    """All of them find nothing, make it together, and write to four names."""
    registry = fresh
    told = together(registry, processes=FRESH, writes=1, weights=draft().weights)
    assert len({ref for one in told for ref in one["made"]}) == FRESH
    assert {v.ref for v in registry.list(all_versions=True)} == {ref for one in told for ref in one["made"]}
    assert registry.verify() == []
