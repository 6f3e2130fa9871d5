"""Whole stories are told through the real command, in processes of their own."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests import forks

from .empty import Empty, make_empty

Run = Callable[..., subprocess.CompletedProcess[str]]


def run_lftreg(*words: str, home: Path) -> subprocess.CompletedProcess[str]:
    """`lftreg WORDS` with a home; nothing is checked."""
    return forks.lftreg(*words, environment=os.environ | {"LFTREG_HOME": str(home)})


def answer(*words: str, home: Path) -> Any:
    """The document of a command that must succeed."""
    done = run_lftreg(*words, "--json", home=home)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture
def ask(home: Path) -> Callable[..., Any]:
    return lambda *words: answer(*words, home=home)


@pytest.fixture(scope="session")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Empty:
    """An environment with the wheel and no checkout; one for all tests, also where they run in several processes."""
    session = os.environ.get("PYTEST_XDIST_TESTRUNUID")
    if session is None:
        return make_empty(tmp_path_factory.mktemp("empty"))
    return make_empty(tmp_path_factory.getbasetemp().parent / f"empty-{session}")
