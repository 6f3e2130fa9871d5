"""What makes something on a disk that is full, or that cannot be written: an error by name, the old state, a retry."""

from __future__ import annotations

import json
import os
from functools import partial
from pathlib import Path

import pytest

from tests import forks

pytestmark = pytest.mark.slow

HERE = ("train", "compose", "import", "export", "gc")
TRIES = 3


def fill(folder: Path, scenes: Path, base: Path) -> None:
    from tests.crash import disks
    from tests.crash.kills import Campaign
    from tests.crash.world import Scenes

    disks.main(Campaign(folder, Scenes(scenes, base), "0", at_changes=1.0), TRIES, HERE)


def test_full_and_read_only_disks(tmp_path: Path, scenes: Path, tiny_llama: Path) -> None:
    told = forks.finish(partial(fill, tmp_path, scenes, tiny_llama), os.environ)
    assert told.returncode == 0, told.stderr[-3000:]
    found = json.loads(told.stdout)
    assert found["problems"] == []
    if found["skipped"]:
        pytest.skip(f"not to be had here: {', '.join(found['skipped'])}")
