from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from tests import forks
from tests.conftest import Once


def make_scenes(folder: Path, base: Path) -> None:
    from tests.crash.world import Scenes

    Scenes(folder / "scenes", base)


@pytest.fixture(scope="session")
def scenes(once: Once, tiny_llama: Path) -> Path:
    """Worlds to kill commands in, made once for all tests."""

    def make(folder: Path) -> None:
        made = forks.finish(partial(make_scenes, folder, tiny_llama), os.environ)
        assert made.returncode == 0, made.stderr[-3000:]

    return once("crash", make) / "scenes"
