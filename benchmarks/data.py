"""How long 10,000 rows take to be checked: whole processes of `lftreg data check`, in every format.

A check reads every row, looks for overlaps of train and held-out rows in all of them, and counts the tokens of a
sample by the starter's tokenizer. 1.5 s is what a whole process may take.

    python benchmarks/data.py [--rows 10000] [--rounds 5]

Prints seconds of wall time a round, and the ratio to `lftreg --version` of the same round, which is what
starting costs. No round loads torch, which the check of the last column proves.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

LIMIT = 1.5  # seconds of a whole process for 10,000 rows
COUNTED = (
    "import sys; from lftreg.cli.main import main; main(); sys.stderr.write(str('torch' in sys.modules))"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    print(
        f"# {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {asked.rows:,} rows"
    )
    slow: list[str] = []
    print(f"{'format':10}{'median s':>9}{'min':>7}{'max':>7}{'x start':>9}  torch")
    with tempfile.TemporaryDirectory() as folder:
        for path in write(Path(folder), asked.rows):
            starts = [timed("--version")[0] for _ in range(asked.rounds)]
            rounds = [timed("data", "check", str(path), "--json") for _ in range(asked.rounds)]
            took = [seconds for seconds, _ in rounds]
            ratio = statistics.median(t / s for t, s in zip(took, starts, strict=True))
            loaded = any(torch for _, torch in rounds)
            print(f"{path.suffix[1:]:10}{statistics.median(took):9.2f}{min(took):7.2f}{max(took):7.2f}{ratio:9.1f}  "
                  f"{'loaded' if loaded else 'not loaded'}")  # fmt: skip
            if statistics.median(took) > LIMIT or loaded:
                slow.append(path.suffix)
    if slow and asked.rows <= 10_000:
        sys.exit(f"over {LIMIT} s, or torch was loaded: {', '.join(slow)}")


def timed(*words: str) -> tuple[float, bool]:
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", COUNTED, *words], capture_output=True, text=True, check=True)
    return time.perf_counter() - started, done.stderr.endswith("True")


def write(folder: Path, count: int) -> list[Path]:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"prompt": f"Where is parcel number {n}? " * 4, "response": f"Parcel {n} is on its way. " * 8}
        for n in range(count)
    ]
    paths = [folder / f"rows.{suffix}" for suffix in ("jsonl", "json", "csv", "parquet")]
    paths[0].write_text("".join(json.dumps(row) + "\n" for row in rows))
    paths[1].write_text(json.dumps(rows))
    with paths[2].open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), paths[3])
    return paths


if __name__ == "__main__":
    main()
