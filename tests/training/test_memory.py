"""Memory that really runs out, by a limit of the process, and what becomes of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lftreg.training.memory import ran_out

PROGRAM = """
import json, resource, sys
from lftreg.plugins.types import Domain, Example
from lftreg.registry import Registry
from lftreg.training import Shrunk, Stepped, train

def build(split, seed):
    count = {"train": 32, "validation": held_out, "test": 0}[split]
    return [Example.pair(f"What is {split} {n}?", "It is so. " * 40) for n in range(count)]

base, room, held_out, batch = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
heard = []
def listen(event):
    heard.append(event)

import lftreg.training.loop as loop
step = loop.Loop.run
def limited(self):
    if room:
        here = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (here + room * 2**20, resource.RLIM_INFINITY))
    return step(self)
loop.Loop.run = limited
try:
    version = train(Domain("lessons", "l", build), base=base, registry=Registry(), listen=listen, rank=4,
                    lr=1e-2, batch_size=batch, max_steps=4)
    told = {"losses": version.run.losses}
except Exception as error:
    told = {"error": getattr(error, "code", type(error).__name__), "hint": getattr(error, "hint", str(error))}
told["shrunk"] = [[e.step, e.rows, e.checkpointing] for e in heard if isinstance(e, Shrunk)]
told["steps"] = [e.loss for e in heard if isinstance(e, Stepped)]
print(json.dumps(told))
"""


def trained(base: Path, room: int, held_out: int = 2, batch: int = 32) -> dict[str, Any]:
    told = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(base), str(room), str(held_out), str(batch)],
        capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert told.returncode == 0, told.stderr[-2000:]
    return dict(json.loads(told.stdout.splitlines()[-1]))


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_a_step_that_does_not_fit_is_tried_again_with_the_same_sum(tiny_llama: Path) -> None:
    whole = trained(tiny_llama, 0)
    limited = trained(tiny_llama, 160)
    assert limited["shrunk"]
    assert limited["steps"] == pytest.approx(whole["steps"], rel=1e-5)
    assert limited["losses"] == pytest.approx(whole["losses"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_a_validation_that_does_not_fit_is_made_in_pieces(tiny_llama: Path) -> None:
    """Memory that runs out at evaluation alone, from the logits of more rows than a step has."""
    whole = trained(tiny_llama, 0, held_out=64, batch=8)
    limited = trained(tiny_llama, 120, held_out=64, batch=8)
    assert limited["losses"] == pytest.approx(whole["losses"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits of memory are Linux's")
def test_a_row_that_does_not_fit_alone_ends_the_run_in_words(tiny_llama: Path) -> None:
    told = trained(tiny_llama, 4)
    assert told["error"] == "out-of-memory"
    assert "--max-length" in told["hint"]


def test_what_counts_as_running_out() -> None:
    import torch

    assert ran_out(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"))
    assert ran_out(
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate")
    )
    assert ran_out(MemoryError())
    assert not ran_out(RuntimeError("expected scalar type Half but found Float"))
