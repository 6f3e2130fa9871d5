"""Every input that a stranger may send, through the real command: refused by name, harmless, quick and small.

An input is called by its number. Those of the Hub are in tests/remotes, of names and databases in tests/registry.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.hostile import watched
from tests.hostile.conftest import Site
from tests.hostile.inputs import CONFIGS, FILES, GOOD, TENSORS, WEIGHTS, Hostile, Spoil, write_good

pytestmark = pytest.mark.slow  # a process for each
HOSTILE = FILES | TENSORS | CONFIGS
MEMORY = 200_000_000  # bytes more than the process had
SECONDS = 2.0  # of the processor


def rows(home: Path) -> int:
    with sqlite3.connect(home / "registry.db") as database:
        return int(database.execute("select count(*) from versions").fetchone()[0])


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if not path.is_dir()}


def imported(site: Site, tmp_path: Path, base: bool, what: Path | None = None) -> dict[str, Any]:
    words = ["import", str(what or site.folder), "--name", "stranger", "--json"]
    touched = site.folder / WEIGHTS if (site.folder.parent / "touch").exists() else None
    return watched.run((*words, *(["--base", str(site.base)] if base else [])), tmp_path, touched)


def check_harmless(site: Site, tmp_path: Path, done: dict[str, Any], kept: set[Path]) -> None:
    """Nothing is left but the database, nothing was touched that does not belong to the command, nothing executed."""
    assert rows(site.home) == 0
    assert {path for path in files(site.home) if not path.name.startswith("registry.db")} <= kept
    assert not (site.folder.parent / "executed").exists()
    check_touched(site, done)
    assert done["memory"] < MEMORY
    assert done["seconds"] < SECONDS


def check_touched(site: Site, done: dict[str, Any]) -> None:
    assert done["events"]
    assert watched.strange(done["events"], [site.base, site.twin, site.folder.parent], [site.home]) == []


@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_refused_by_its_own_name(site: Site, tmp_path: Path, hostile: Hostile) -> None:
    write_good(site.folder, str(site.base))
    hostile.spoil(site.folder)
    kept = files(site.home)
    done = imported(site, tmp_path, hostile.base)
    assert done["error"], done["err"]
    assert (done["error"]["code"], done["code"]) == (hostile.code, 2)
    assert done["error"]["hint"]
    check_harmless(site, tmp_path, done, kept)


@pytest.mark.parametrize("change", GOOD.values(), ids=GOOD)
def test_a_good_one_touches_nothing_else_either(site: Site, tmp_path: Path, change: Spoil) -> None:
    write_good(site.folder, str(site.base))
    change(site.folder)
    done = imported(site, tmp_path, base=True)
    assert done["code"] == 0, done["err"]
    assert rows(site.home) == 1
    check_touched(site, done)


def test_every_input_has_its_number() -> None:
    numbers = {int(name[:2]) for name in HOSTILE}
    assert numbers == set(range(1, 52))
