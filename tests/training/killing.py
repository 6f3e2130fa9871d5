"""Start runs, kill them at random moments, let them go on, and count how many end as if nothing had happened.

    python -m tests.training.killing BASE KILLS [--seed N]

One process that has loaded everything forks each attempt, so that a kill costs a second and not ten; what is
killed is a real process, by SIGKILL, with a checkpoint at every step. Prints a JSON object.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from lftreg.registry import Registry
from lftreg.training import Runs, make_plan, run_plan
from lftreg.training.checkpoint import NEWEST
from tests.training.test_resume import OPTIONS, lessons


def attempt(base: Path, resume: bool) -> int:
    """A child that trains to the end, if it is let."""
    child = os.fork()
    if child:
        return child
    try:
        registry = Registry()
        plan = make_plan(lessons(), name=None, base=str(base), registry=registry, **OPTIONS | {"rank": 128})
        run_plan(plan, registry, run=Runs(registry.home).to_resume() if resume else None, save_every=1)
        os._exit(0)
    except BaseException as error:  # noqa: BLE001 a forked child must end here
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(1)


def wait_for_a_save(registry: Registry, child: int, old: set[str], skip: int) -> None:
    """Until a checkpoint of a run that goes on is half written, after so many others; or until it is over."""
    there = False
    while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        was, there = there, bool(half_written(registry) - old)
        if there and not was:
            if not skip:
                return
            skip -= 1


def half_written(registry: Registry) -> set[str]:
    """Files of saves that are not over, in all runs; safetensors writes to one of its own first."""
    runs = registry.home.runs
    return {
        name
        for run in os.listdir(runs)  # noqa: PTH208 it has to be fast
        if run.startswith("lessons")
        for name in os.listdir(runs / run)  # noqa: PTH208
        if name.startswith((".tmp", f".{NEWEST}"))
    }


def ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def main(base: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    registry = Registry()
    started = time.monotonic()
    assert ended(attempt(base, resume=False)) == 0
    whole_time = time.monotonic() - started
    whole = registry.get("lessons").digest
    found = {"kills": 0, "runs": 0, "equal": 0, "in_saves": 0}
    while found["kills"] < kills:
        begun = len(Runs(registry.home).list())
        resume = False
        while True:
            old = half_written(registry)
            child = attempt(base, resume)
            fate = dice.random()
            if fate < 0.35:
                wait_for_a_save(registry, child, old, dice.randrange(3))
            elif fate < 0.75:
                time.sleep(dice.random() * whole_time)
            if fate < 0.75:
                os.kill(child, signal.SIGKILL)
            code = ended(child)
            found["kills"] += code == -signal.SIGKILL
            runs = Runs(registry.home).list()
            found["in_saves"] += bool(code and half_written(registry) - old)
            if code == 0:
                break
            assert code == -signal.SIGKILL, code
            resume = len(runs) > begun
        found["runs"] += 1
        found["equal"] += registry.get("lessons").digest == whole
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[4]) if len(sys.argv) > 4 else 0)
