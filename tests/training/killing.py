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
from functools import partial
from pathlib import Path

from lftreg.registry import Registry
from lftreg.training import Runs, make_plan, run_plan
from lftreg.training.checkpoint import NEWEST
from tests.crash.watched import killed_after, killed_once, left_alone
from tests.training.test_resume import OPTIONS, lessons


def attempt(base: Path, resume: bool) -> None:
    """Train to the end, if it is let."""
    registry = Registry()
    plan = make_plan(lessons(), name=None, base=str(base), registry=registry, **OPTIONS | {"rank": 128})
    run_plan(plan, registry, run=Runs(registry.home).to_resume() if resume else None, save_every=1)


class Saving:
    """Whether a checkpoint of a run that goes on is half written, after so many others."""

    def __init__(self, registry: Registry, skip: int) -> None:
        self.registry, self.skip, self.there = registry, skip, False
        self.old = half_written(registry)

    def __call__(self) -> bool:
        was, self.there = self.there, bool(half_written(self.registry) - self.old)
        begins = self.there and not was
        self.skip -= begins
        return begins and self.skip < 0


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


def main(base: Path, kills: int, seed: int) -> None:
    dice = random.Random(seed)
    registry = Registry()
    alone = left_alone(partial(attempt, base, False))
    assert alone.code == 0
    whole = registry.get("lessons").digest
    found = {"kills": 0, "runs": 0, "equal": 0, "in_saves": 0}
    while found["kills"] < kills:
        begun = len(Runs(registry.home).list())
        resume = False
        while True:
            old = half_written(registry)
            call = partial(attempt, base, resume)
            fate = dice.random()
            if fate < 0.35:
                code = killed_once(Saving(registry, dice.randrange(3)), call).code
            elif fate < 0.75:
                code = killed_after(dice.random() * alone.seconds, call).code
            else:
                code = left_alone(call).code
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
