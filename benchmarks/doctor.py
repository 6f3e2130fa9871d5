"""How often `lftreg doctor` is right: runs with faults put into them, and healthy ones, on seeds that no threshold saw.

    python benchmarks/doctor.py [--seeds 3 4 5] [--base FOLDER] [--output doctor.json]

Prints what the first diagnosis of every fault was, the alarms on healthy runs, and the ranges of what is measured.
`--base` keeps the small base between calls; it is made where it is not there.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from tests.advice.base import save_learned
from tests.advice.cases import CASES, HEALTHY, run_case, run_healthy

from lftreg.advice import symptoms
from lftreg.advice.diagnose import diagnose, is_healthy
from lftreg.advice.signals import Signals
from lftreg.paths import Home
from lftreg.registry import Registry

Told = dict[str, Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[3, 4, 5])
    parser.add_argument("--base", type=Path)
    parser.add_argument("--output", type=Path)
    asked = parser.parse_args()
    base = asked.base or Path(tempfile.mkdtemp()) / "base"
    if not (base / "config.json").exists():
        base.mkdir(parents=True, exist_ok=True)
        save_learned(base)
    rows = [row for seed in asked.seeds for row in of_seed(base, seed)]
    if asked.output:
        asked.output.write_text(json.dumps(rows, indent=1) + "\n")
    summarise(rows)


def of_seed(base: Path, seed: int) -> list[Told]:
    told = [judged(case.name, case.expect, run_case(case, base, fresh(), seed)) for case in CASES]
    return told + [
        judged(f"healthy {number}", "", run_healthy(number, base, fresh(), 10 * seed + number))
        for number in range(len(HEALTHY))
    ]


def fresh() -> Registry:
    return Registry(Home(Path(tempfile.mkdtemp()) / "home"))


def judged(name: str, expect: str, signals: Signals) -> Told:
    found = diagnose(signals)
    first = "" if is_healthy(found) else found[0].name
    row = {
        "name": name, "expect": expect, "first": first, "all": [one.name for one in found],
        "drop": signals.drop, "highest": symptoms.highest(signals), "apart": symptoms.apart(signals),
        "late": symptoms.late_fall(signals),
        "back": signals.last / symptoms.lowest(signals),
    }  # fmt: skip
    print(f"{'ok ' if first == expect else 'NOT'} {name:30} {', '.join(row['all']) or 'healthy'}", flush=True)
    return row


def summarise(rows: list[Told]) -> None:
    faults = [row for row in rows if row["expect"]]
    healthy = [row for row in rows if not row["expect"]]
    right = sum(row["first"] == row["expect"] for row in faults)
    print(f"\nfaults: {right} of {len(faults)} named first ({right / len(faults):.1%})")
    print(f"healthy: {sum(bool(row['first']) for row in healthy)} alarms in {len(healthy)} runs")
    for pair, count in sorted(Counter((row["expect"], row["first"]) for row in faults).items()):
        print(f"  {pair[0]:22} -> {pair[1] or 'healthy':22} {count}")
    for figure in ("drop", "highest", "apart", "late", "back"):
        values = [row[figure] for row in healthy]
        print(f"  healthy {figure:8} {min(values):.3f} to {max(values):.3f}")


if __name__ == "__main__":
    main()
