"""What the registry's questions cost at 100,000 versions and 1,000,000 scores, in ratios measured side by side.

    python benchmarks/registry.py [--versions 100000] [--scores 10] [--rounds 200] [--folder DIR]
                                  [--only scale readers] [--mlflow PYTHON]

The rows are made in bulk, as `publish` and `scores.add` would leave them; every question goes through the public API.
Beside it stand a scan of the same versions kept as one JSON file (read, parsed and searched, as small tools do), the
same question to the same database by the sqlite3 module with SQL written by hand, which reads the same rows and
columns, and the API at 1,000 versions. They are asked in turns; figures are medians with quartiles. `--mlflow` is the
Python of an environment that has mlflow, which is then asked the same of 1,500 models: see registry_mlflow.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from lftreg.paths import Home
from lftreg.registry import Registry
from registry_questions import Plain, questions
from registry_rows import fill, small_adapter

HERE = Path(__file__).parent


def quick(ask: Callable[[], Any], rounds: int) -> list[float]:
    """Milliseconds of each of so many calls, after three that are not counted."""
    for _ in range(3):
        ask()
    taken = []
    for _ in range(rounds):
        began = time.perf_counter()
        ask()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def told(values: Sequence[float], digits: int = 3) -> str:
    low, middle, high = statistics.quantiles(values, n=4)
    return f"{middle:.{digits}f} [{low:.{digits}f}-{high:.{digits}f}]"


def scale(folder: Path, versions: int, scores: int, rounds: int) -> None:
    """Every question, at both sizes."""
    large, small = (Registry(Home(folder / str(n))) for n in (versions, 1000))
    for registry, count in ((large, versions), (small, 1000)):
        began = time.perf_counter()
        made = fill(registry, count, scores)
        print(
            f"made {count:,} versions and {made:,} scores in {time.perf_counter() - began:.0f} s", flush=True
        )
    plain = Plain(large.home.database)
    file = folder / "registry.json"
    file.write_text(json.dumps(plain.documents()))
    print(f"the JSON file has {file.stat().st_size / 1e6:.0f} MB, the database {plain.size / 1e6:.0f} MB\n")
    print(
        f"{'milliseconds':<20} {'API':<24} {'sqlite3':<24} {'API at 1,000':<24} scan / API / sqlite3 / growth"
    )
    for here, there in zip(questions(versions), questions(1000), strict=True):
        found = here.api(large)
        assert found == here.sql(plain) == here.scan(json.loads(file.read_text())), (here.name, found)
        assert found and len(there.api(small)) == len(found), here.name  # as many rows to read at both sizes
        api: list[float] = []
        sql: list[float] = []
        few: list[float] = []
        for _ in range(5):  # in turns, so that what the machine does besides is shared
            api += quick(lambda ask=here.api: ask(large), rounds // 5)
            sql += quick(lambda ask=here.sql: ask(plain), rounds // 5)
            few += quick(lambda ask=there.api: ask(small), rounds // 5)
        scanned = quick(lambda ask=here.scan: ask(json.loads(file.read_text())), 3)
        a, s, f, j = (statistics.median(values) for values in (api, sql, few, scanned))
        print(
            f"{here.name:<20} {told(api):<24} {told(sql):<24} {told(few):<24} {j / a:,.0f} x   {a / s:.1f} x"
            f"   {a / f:.2f} x",
            flush=True,
        )
    large.close(), small.close()


def readers(folder: Path, each: float, seconds: float = 5.0) -> None:
    """What one reader gets done in a second: alone, and beside two that write so often a second each."""
    registry = Registry(Home(folder / f"readers-{each:g}"))
    fill(registry, 1000, 1)
    weights = folder / "weights.safetensors"
    small_adapter(weights)
    path = f"{HERE.parent}:{HERE.parent}/src"
    environment = os.environ | {"LFTREG_HOME": str(registry.home.root), "PYTHONPATH": path}
    command = [sys.executable, "-m", "tests.registry.writers", str(weights)]

    def throughput() -> float:
        began, done = time.perf_counter(), 0
        while time.perf_counter() - began < seconds:
            registry.get("adapter-00100@prod")
            registry.list(base="base-3", limit=20)
            done += 2
        return done / (time.perf_counter() - began)

    kept, paces = [], []
    for turn in range(5):
        alone = throughput()
        times = int(each * (seconds + 4))
        writing = [
            subprocess.Popen(
                [*command, str(2 * turn + n), str(times), str(each)], env=environment, stdout=subprocess.PIPE
            )
            for n in range(2)
        ]
        time.sleep(3)  # until they have started
        before, began = len(registry.log(limit=1_000_000)), time.perf_counter()
        beside = throughput()
        paces.append((len(registry.log(limit=1_000_000)) - before) / (time.perf_counter() - began))
        for one in writing:
            one.communicate()
        kept.append(100 * beside / alone)
    print(
        f"readers keep {told(kept, 0)} % beside two writers, who write {statistics.median(paces):.0f} times a second"
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--versions", type=int, default=100_000)
    parser.add_argument("--scores", type=int, default=10, help="of each version")
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=("scale", "readers"), default=["scale", "readers"])
    parser.add_argument("--mlflow", type=Path, metavar="PYTHON")
    given = parser.parse_args()
    print(
        f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, SQLAlchemy {version('sqlalchemy')}\n"
    )
    with tempfile.TemporaryDirectory(dir=given.folder) as name:
        if "scale" in given.only:
            scale(Path(name), given.versions, given.scores, given.rounds)
        if "readers" in given.only:
            readers(Path(name), 25)
            readers(Path(name), 50)
        if given.mlflow:
            subprocess.run(
                [sys.executable, str(HERE / "registry_mlflow.py"), str(given.mlflow), name], check=True
            )


if __name__ == "__main__":
    main()
