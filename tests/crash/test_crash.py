"""Killed at any change it makes, a command leaves the old registry or the new one. `make crash` kills a thousand."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pytest

from tests import forks

pytestmark = pytest.mark.slow

KILLS = 28
SEED = os.environ.get("LFTREG_CRASH_SEED", "0")


def kill(folder: Path, scenes: Path, base: Path) -> None:
    from tests.crash.kills import Campaign
    from tests.crash.world import Scenes

    campaign = Campaign(folder, Scenes(scenes, base), SEED, at_changes=1.0)
    print(json.dumps([asdict(row) for row in campaign.run(KILLS)]))


def test_commands_killed_at_their_changes(tmp_path: Path, scenes: Path, tiny_llama: Path) -> None:
    told = forks.finish(partial(kill, tmp_path, scenes, tiny_llama), os.environ)
    assert told.returncode == 0, told.stderr[-3000:]
    rows = json.loads(told.stdout)
    assert [problem for row in rows for problem in row["problems"]] == []
    assert [(row["broken"], row["dangling"], row["garbage"]) for row in rows] == [(0, 0, 0)] * len(rows)
    if ":" not in SEED:
        assert sum(row["kills"] for row in rows) == KILLS
        assert all(row["kills"] for row in rows)
