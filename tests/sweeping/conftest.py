"""A small base, rows that can be learned in a second, and the command in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lftreg.data import read_data
from lftreg.plugins.types import Domain
from tests.conftest import take_ctrl_c

STEPS = 40
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    """A file of rows, some of which are held out."""
    place = tmp_path / "rows.jsonl"
    told = [{"prompt": f"What is number {i}?", "response": f"It is {i % 5}."} for i in range(60)]
    place.write_text("\n".join(map(json.dumps, told)))
    return place


@pytest.fixture
def domain(rows: Path) -> Domain:
    return read_data([str(rows)], "rows").domain


@pytest.fixture
def asked(tiny_llama: Path) -> dict[str, Any]:
    """What all sweeps here have in common."""
    return {"base": str(tiny_llama), "max_steps": STEPS, "batch_size": 4}


@pytest.fixture
def start(rows: Path, tiny_llama: Path) -> Start:
    """`lftreg sweep` on these rows, begun."""

    def begin(*words: str, base: str = "") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "lftreg", "sweep", "--data", str(rows), "--batch-size", "4"]
        command += ["--base", base or str(tiny_llama), *words]
        return subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=take_ctrl_c,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip

    return begin
