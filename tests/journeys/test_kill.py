"""Killed at any moment, a command leaves no broken row, and the next command works."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import take_ctrl_c

from .conftest import answer, run_lftreg

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

TRAIN = ("train", "customer_support", "--max-steps", "12", "--rank", "2", "--batch-size", "4")


def started(*words: str, home: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "lftreg", *words],
        env=os.environ | {"LFTREG_HOME": str(home), "HF_HUB_OFFLINE": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def seconds_of(*words: str, home: Path) -> float:
    begin = time.monotonic()
    answer(*words, home=home)
    return time.monotonic() - begin


def kill_at(fraction: float, whole: float, words: tuple[str, ...], home: Path) -> None:
    process = started(*words, home=home)
    time.sleep(fraction * whole)
    process.kill()
    process.wait()


def assert_sound(home: Path) -> int:
    """Every row is whole; returns how many versions there are."""
    checked = run_lftreg("verify", "--all", "--json", home=home)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    return len(answer("list", "--all", home=home))


def test_kill_9_in_train(home: Path, tiny_llama: Path) -> None:
    train = (*TRAIN, "--base", str(tiny_llama))
    whole = seconds_of(*train, home=home)
    moments = random.Random(7)
    # The end, where files and rows are written, is where it hurts.
    fractions = [moments.random() for _ in range(2)] + [0.8 + 0.25 * moments.random() for _ in range(6)]
    for fraction in fractions:
        before = assert_sound(home)
        kill_at(fraction, whole, train, home)
        assert assert_sound(home) - before in (0, 1)
    assert answer(*train, home=home)["version"] == assert_sound(home)


def test_kill_9_in_compose(home: Path, tiny_llama: Path) -> None:
    for name in ("red", "blue"):
        answer(*TRAIN, "--base", str(tiny_llama), "--name", name, home=home)
    compose = ("compose", "red:0.7", "blue:0.3", "--name", "mix")
    whole = seconds_of(*compose, home=home)
    moments = random.Random(8)
    for _ in range(6):
        before = assert_sound(home)
        kill_at(0.6 + 0.5 * moments.random(), whole, compose, home)
        assert assert_sound(home) - before in (0, 1)
    assert answer(*compose, home=home)["name"] == "mix"


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
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0]
    rows = answer("list", "--all", home=home)
    assert sorted(row["version"] for row in rows) == [1, 2, 3]
    assert len({row["digest"] for row in rows}) == 1
    assert_sound(home)
