"""What it costs to start: process CPU time of commands, as ratios to two imports nobody can avoid.

The yardstick is `python -c "import click, sqlalchemy"`. Rounds are interleaved, so that what else
the machine does falls on all of them; the ratio of a round is taken within that round.

    python benchmarks/startup.py [--rounds 15] [--json FILE]
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

YARDSTICK = ["-c", "import click, sqlalchemy"]
SUBJECTS = {
    "python -c pass": ["-c", "pass"],
    "import click": ["-c", "import click"],
    "lftreg --help": ["-m", "lftreg", "--help"],
    "lftreg list --help": ["-m", "lftreg", "list", "--help"],
    "lftreg list (empty)": ["-m", "lftreg", "list"],
    "lftreg list (20)": ["-m", "lftreg", "list"],
    "lftreg list --json (20)": ["-m", "lftreg", "list", "--json"],
    "lftreg domains": ["-m", "lftreg", "domains"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        full = Path(folder) / "full"
        fill(full, 20)
        homes = {name: str(full if "(20)" in name else Path(folder) / "empty") for name in SUBJECTS}
        rounds = [one_round(homes) for _ in range(asked.rounds + 1)][1:]  # the first one warms caches
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("lftreg", "click", "sqlalchemy")
    )
    print(f"# {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}")
    print(
        f"# yardstick: {statistics.median(r['yardstick'] for r in rounds):.0f} ms of CPU, {asked.rounds} rounds"
    )
    print(f"{'':26}{'ms':>6}{'ratio':>8}{'min':>7}{'max':>7}")
    results = {}
    for name in SUBJECTS:
        ratios = [r[name] / r["yardstick"] for r in rounds]
        results[name] = statistics.median(ratios)
        milliseconds = statistics.median(r[name] for r in rounds)
        print(f"{name:26}{milliseconds:6.0f}{results[name]:8.2f}{min(ratios):7.2f}{max(ratios):7.2f}")
    if asked.json:
        asked.json.write_text(json.dumps(results, indent=2) + "\n")


def one_round(homes: dict[str, str]) -> dict[str, float]:
    """Milliseconds of CPU of the yardstick and of every subject, once each."""
    return {"yardstick": cpu(YARDSTICK, "")} | {
        name: cpu(words, homes[name]) for name, words in SUBJECTS.items()
    }


def cpu(words: list[str], home: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, *words],
        env=os.environ | {"LFTREG_HOME": home},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def fill(home: Path, adapters: int) -> None:
    """Put small adapters into a registry."""
    import numpy
    from safetensors.numpy import save_file

    from lftreg.paths import Home
    from lftreg.registry import Base, Draft, Registry

    weights = home.parent / "weights.safetensors"
    factors = {
        "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": numpy.ones((4, 8), numpy.float32),
        "base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight": numpy.ones((8, 4), numpy.float32),
    }
    save_file(factors, weights)
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    with Registry(Home(home)) as registry:
        for number in range(adapters):
            registry.publish(
                Draft(
                    f"adapter-{number}",
                    "imported",
                    Base("0" * 64, "starter", "llama", 10**7),
                    weights,
                    config,
                )
            )


if __name__ == "__main__":
    main()
