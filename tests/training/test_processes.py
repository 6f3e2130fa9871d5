"""Two processes make the adapter that one makes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lftreg.registry import WEIGHTS, Registry
from tests import forks
from tests.conftest import take_ctrl_c

ROWS = [{"prompt": f"What is {n}?", "response": f"It is {n}. " * (1 + n % 4)} for n in range(40)]
TRAIN = ["--rank", "4", "--lr", "1e-2", "--batch-size", "6", "--max-steps", "20", "--accumulate", "2"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_text("\n".join(map(json.dumps, ROWS)))
    return path


def lftreg(*words: str, **more: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "lftreg", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"}, preexec_fn=take_ctrl_c, **more,
    )  # fmt: skip


def trained(data: Path, base: Path, name: str, *words: str) -> dict[str, Any]:
    given = ("--data", str(data), "--base", str(base), "--name", name)
    done = forks.lftreg("train", *given, *TRAIN, *words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


@pytest.mark.slow
def test_two_processes_make_what_one_makes(data: Path, tiny_llama: Path, registry: Registry) -> None:
    one = trained(data, tiny_llama, "one")
    two = trained(data, tiny_llama, "two", "--processes", "2")
    assert two["loss"]["validation_after"] == pytest.approx(one["loss"]["validation_after"], rel=1e-4)
    assert (two["tokens"], two["examples"]) == (one["tokens"], one["examples"])
    here, there = (load_file(registry.file(registry.get(name), WEIGHTS)) for name in ("one", "two"))
    difference = torch.cat([(here[key] - there[key]).flatten() for key in here]).norm()
    assert difference / torch.cat([tensor.flatten() for tensor in here.values()]).norm() < 1e-4
    assert [run["status"] for run in runs()] == ["done", "done"]


@pytest.mark.slow
def test_two_processes_stop_and_go_on_together(data: Path, tiny_llama: Path, registry: Registry) -> None:
    words = [
        "train",
        "--data",
        str(data),
        "--base",
        str(tiny_llama),
        "--name",
        "two",
        *TRAIN,
        "--max-steps",
        "4000",
    ]
    process = lftreg(*words, "--processes", "2", "--save-every", "5", start_new_session=True)
    until = time.monotonic() + 120
    while time.monotonic() < until and not any(registry.home.runs.glob("*/checkpoint.safetensors")):
        time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: launcher and children hear it
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.count("everything is saved") == 1
    assert "Traceback" not in err
    (run,) = runs()
    assert run["status"] == "interrupted"
    assert run["step"] > 0
    process = lftreg("train", "--resume", "--processes", "2", start_new_session=True)
    assert process.stderr is not None
    said = []
    while not said or f"goes on after step {run['step']}" not in said[-1]:
        said.append(process.stderr.readline())
        assert said[-1], said
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130


@pytest.mark.slow
def test_an_error_is_told_once_and_its_code_kept(data: Path, tmp_path: Path) -> None:
    done = forks.lftreg("train", "--data", str(data), "--base", str(tmp_path / "none"), "--processes", "2")
    assert done.returncode == 3
    assert done.stderr.count("error:") == 1
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_gpus_that_are_not_here(data: Path) -> None:
    done = forks.lftreg("train", "--data", str(data), "--gpus", "2")
    assert done.returncode == 5
    assert "--gpus 2, and none here" in done.stderr


def runs() -> list[dict[str, Any]]:
    return list(json.loads(forks.lftreg("runs", "--json").stdout))
