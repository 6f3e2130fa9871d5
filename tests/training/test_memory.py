"""Memory that really runs out, by a limit of the process, and what becomes of the run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lftreg.errors import LftregError
from lftreg.training.memory import ran_out
from tests import forks


def program(base: str, room: int, held_out: int, batch: int) -> None:
    """What a process does: a run with so many MiB of room while it trains (0: all), told as JSON."""
    import resource

    from lftreg.plugins.types import Domain, Example
    from lftreg.registry import Registry
    from lftreg.training import Shrunk, Stepped, train
    from lftreg.training.events import Event
    from lftreg.training.loop import Loop

    def build(split: str, seed: int) -> list[Example]:
        count = {"train": 32, "validation": held_out, "test": 0}[split]
        return [Example.pair(f"What is {split} {n}?", "It is so. " * 40) for n in range(count)]

    run = Loop.run

    def limited(self: Loop) -> Any:
        if room:
            here = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (here + room * 2**20, resource.RLIM_INFINITY))
        try:
            return (yield from run(self))
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    Loop.run = limited  # type: ignore[method-assign]
    heard: list[Event] = []
    told: dict[str, Any]
    try:
        version = train(
            Domain("lessons", "l", build), base=base, registry=Registry(), listen=heard.append, rank=4,
            lr=1e-2, batch_size=batch, max_steps=4,
        )  # fmt: skip
        assert version.run is not None
        told = {"losses": version.run.losses}
    except LftregError as error:
        told = {"error": error.code, "hint": error.hint}
    told["shrunk"] = [[e.step, e.rows, e.checkpointing] for e in heard if isinstance(e, Shrunk)]
    told["steps"] = [e.loss for e in heard if isinstance(e, Stepped)]
    print(json.dumps(told))


def trained(base: Path, room: int, held_out: int = 2, batch: int = 32) -> dict[str, Any]:
    """Where room is short, in a process that is started anew: a fork has room left from what it has freed."""
    given = (str(base), room, held_out, batch)
    if room:
        told = subprocess.run(
            [sys.executable, "-c", f"from {__name__} import program; program(*{given!r})"],
            capture_output=True, text=True, cwd=Path(__file__).parents[2],
            env=os.environ | {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"},
        )  # fmt: skip
    else:
        told = forks.finish(partial(program, *given), os.environ)
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
