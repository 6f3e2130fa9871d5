"""The long form, for `make crash`: prints a table, and every problem with what repeats it."""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import save_tiny
from tests.crash.kills import Campaign, Row
from tests.crash.world import Scenes

HEAD = (
    "operation",
    "changes",
    "kills",
    "in the middle",
    "broken rows",
    "dangling aliases",
    "slowest repair",
    "2nd gc",
)

# Seconds within which the registry answers after a kill: it is listed through the public API in a process that has
# everything imported. What the process waits for while others have the machine does not count.
REPAIR = 1.0


def line(row: Row) -> str:
    cells = (
        row.changes, row.kills, row.middle, row.broken, row.dangling, f"{1000 * row.slowest:.0f} ms", row.garbage,
    )  # fmt: skip
    return f"{row.operation:<18}" + "".join(
        f"{cell!s:>{len(head) + 2}}" for cell, head in zip(cells, HEAD[1:], strict=True)
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.crash", description=__doc__)
    parser.add_argument("operations", nargs="*", help="all of them, if left out")
    parser.add_argument("--kills", type=int, default=1000)
    asked = parser.parse_args()
    seed = os.environ.get("LFTREG_CRASH_SEED") or str(random.randrange(10**6))
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="lftreg-crash-") as folder:
        base = save_tiny("llama", Path(folder) / "base")
        campaign = Campaign(Path(folder), Scenes(Path(folder) / "scenes", base), seed)
        where = "at changes of its folder and at random times" if campaign.watches else "at random times"
        print(f"LFTREG_CRASH_SEED={seed}: commands killed {where}")
        print(f"{HEAD[0]:<18}" + "".join(f"  {head}" for head in HEAD[1:]), flush=True)
        rows = []
        for row in campaign.run(asked.kills, asked.operations):
            print(line(row), flush=True)
            for problem in row.problems[:20]:
                print(f"    {problem}", flush=True)
            rows.append(row)
    total = Row(
        "all", sum(r.changes for r in rows), sum(r.kills for r in rows), sum(r.middle for r in rows),
        sum(r.broken for r in rows), sum(r.dangling for r in rows), max(r.slowest for r in rows),
        sum(r.garbage for r in rows), [problem for r in rows for problem in r.problems],
    )  # fmt: skip
    print(line(total))
    print(f"{len(total.problems)} problems; {time.monotonic() - began:.0f} s")
    if total.slowest > REPAIR:
        print(f"a repair took longer than {REPAIR:.0f} s")
    return 1 if total.problems or total.slowest > REPAIR else 0


if __name__ == "__main__":
    sys.exit(main())
