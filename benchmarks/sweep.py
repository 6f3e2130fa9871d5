"""A sweep of N trials against N commands of `lftreg train` with the settings of these trials, on the starter base.

    OMP_NUM_THREADS=2 python benchmarks/sweep.py [DOMAIN] [--trials 16] [--max-steps N] [--of N]

The sweep comes first, as it finds the settings; then the commands train one after another, each in a process and to its
end, as a user would do it. `--of N` runs N of the commands, evenly chosen, and takes the others to cost as much.
Prints seconds and CPU seconds of both, and the ratios: what a sweep saves, its confirmation of the best three included.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import torch

import lftreg


@dataclass(frozen=True)
class Took:
    """Seconds of a command, and of the processor."""

    seconds: float
    cpu: float

    def __add__(self, other: Took) -> Took:
        return Took(self.seconds + other.seconds, self.cpu + other.cpu)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("domain", nargs="?", default="customer_support")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--max-steps", type=int, help="of every trial (as many as train takes)")
    parser.add_argument("--of", type=int, help="commands that are run, of as many as there are trials")
    parser.add_argument("--data", type=Path, help="a file in place of the domain")
    asked = parser.parse_args()
    print(
        f"# {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, optuna {optuna.__version__}, "
        f"lftreg {lftreg.__version__}"
    )
    steps = [] if asked.max_steps is None else ["--max-steps", str(asked.max_steps)]
    what = ["--data", str(asked.data), "--name", "rows", *steps] if asked.data else [asked.domain, *steps]
    with tempfile.TemporaryDirectory() as home:
        swept, told = run(home, "sweep", *what, "--trials", str(asked.trials))
        rows = told["trials"]
        print(f"{'one sweep':24}{swept.seconds:8.0f} s{swept.cpu:8.0f} CPU s")
        for row in rows:
            print(f"#   trial {row['number']}: {row['settings']}, {row['end']} at {row['percent']} %")
        chosen = rows[:: max(1, len(rows) // (asked.of or len(rows)))][: asked.of]
        trained = Took(0.0, 0.0)
        for row in chosen:
            one, _ = run(home, "train", *what, *options(row["settings"]))
            trained += one
        share = len(rows) / len(chosen)
        trained = Took(trained.seconds * share, trained.cpu * share)
        print(f"{f'{len(rows)} commands':24}{trained.seconds:8.0f} s{trained.cpu:8.0f} CPU s")
        print(f"{'ratio':24}{trained.seconds / swept.seconds:8.2f}  {trained.cpu / swept.cpu:8.2f}")


def options(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]


def run(home: str, *words: str) -> tuple[Took, dict[str, Any]]:
    """A command in a process of its own. A run that comes to nothing has still taken its time."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "lftreg", *words, "--json"],
        env=os.environ | {"LFTREG_HOME": home},
        capture_output=True,
        text=True,
        check=False,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = Took(time.monotonic() - start, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    if done.returncode and words[0] == "sweep":
        sys.exit(done.stderr)
    return took, json.loads(done.stdout) if done.returncode == 0 else {}


if __name__ == "__main__":
    main()
