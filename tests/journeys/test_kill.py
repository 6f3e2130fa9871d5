"""Stopped, repeated, or side by side: what is trained is what it would be alone. For kills see tests/crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest

from tests import forks
from tests.conftest import take_ctrl_c

from .conftest import answer, run_lftreg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRAIN = ("train", "customer_support", "--max-steps", "12", "--rank", "2", "--batch-size", "4")


def started(*words: str, home: Path) -> ForkServerProcess:
    environment = os.environ | {"LFTREG_HOME": str(home)}
    return forks.start(partial(forks.command, words), environment, Path.cwd(), (os.devnull,) * 3)


def assert_sound(home: Path) -> int:
    """Every row is whole; returns how many versions there are."""
    checked = run_lftreg("verify", "--all", "--json", home=home)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return len(answer("list", "--all", home=home))


def test_ctrl_c_ends_a_run_with_130_and_registers_nothing(home: Path, tiny_llama: Path) -> None:
    words = ("train", "customer_support", "--base", str(tiny_llama), "--epochs", "500")
    process = subprocess.Popen(
        [sys.executable, "-m", "lftreg", *words],
        env=os.environ | {"LFTREG_HOME": str(home)},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=take_ctrl_c,
    )
    assert process.stderr is not None
    for line in process.stderr:  # wait until it really trains
        if "loss" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait(timeout=60) == 130
    assert "everything is saved" in rest
    assert "Traceback" not in rest
    assert answer("list", home=home) == []
    assert [run["status"] for run in answer("runs", home=home)] == ["interrupted"]


def test_two_runs_with_one_seed_give_the_same_bytes(tmp_path: Path, tiny_llama: Path) -> None:
    words = (*TRAIN, "--base", str(tiny_llama), "--dropout", "0.1", "--seed", "5")
    first, second = (answer(*words, home=tmp_path / name) for name in ("one", "two"))
    assert first["digest"] == second["digest"]
    other = answer(*words[:-1], "6", home=tmp_path / "three")
    assert other["digest"] != first["digest"]


def test_two_processes_train_into_one_home_at_once(home: Path, tiny_llama: Path) -> None:
    words = (*TRAIN, "--base", str(tiny_llama))
    processes = [started(*words, home=home) for _ in range(3)]
    for process in processes:
        process.join(300)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    rows = answer("list", "--all", home=home)
    assert sorted(row["version"] for row in rows) == [1, 2, 3]
    assert len({row["digest"] for row in rows}) == 1
    assert_sound(home)
