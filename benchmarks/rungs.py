"""Do some of the validation rows order the trials of a sweep as all of them do?

    python benchmarks/rungs.py [DOMAIN] [--trials 16] [--max-steps 96] [--draws 200]

Trials with learning rates and ranks drawn from the default space go to the steps at which a sweep compares them, and
none leaves. Prints, for each of these steps and for numbers of rows drawn at random: how much of the half that all rows
find better these rows keep, on average and at worst, and at which place they put the best trial at worst.
"""

from __future__ import annotations

import argparse
import math
import os
import platform
import random
import tempfile
from pathlib import Path
from typing import Any

import torch

import lftreg
from lftreg.errors import LftregError
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.registry import Registry
from lftreg.sweeping.bench import Bench, Table
from lftreg.sweeping.halving import rungs
from lftreg.sweeping.plans import Plans
from lftreg.sweeping.space import AROUND, RANKS
from lftreg.training.learner import Learner
from lftreg.training.plan import make_plan
from lftreg.training.processes import make_accelerator
from lftreg.training.stopping import Stop

ROWS = (8, 16, 32, 64)
Sums = list[list[tuple[float, int]]]  # by trial and row: nats and learned tokens


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("domain", nargs="?", default="customer_support")
    parser.add_argument("--trials", type=int, default=16)
    parser.add_argument("--max-steps", type=int, default=96)
    parser.add_argument("--draws", type=int, default=200)
    asked = parser.parse_args()
    print(
        f"# {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"torch {torch.__version__}, lftreg {lftreg.__version__}; {vars(asked)}"
    )
    with tempfile.TemporaryDirectory() as folder:
        plans = plans_of(asked, Registry(Home(Path(folder))))
        bench = Bench(make_accelerator(), Stop(), lambda: None, print)
        with bench.together([plans.of(tried) for tried in drawn(plans, asked.trials)]) as table:
            for percent, step in rungs(asked.max_steps).items():
                for _, end in table.run([(seat, seat.until(step)) for seat in table.seats]):
                    if isinstance(end, LftregError):
                        raise end
                tell(f"{percent} %, step {step}", judged(table), asked.draws)


def plans_of(asked: argparse.Namespace, registry: Registry) -> Plans:
    host = Host()

    def make(**options: Any) -> Any:
        return make_plan(asked.domain, name=None, base="starter", registry=registry, host=host, **options)

    return Plans(make, {"max_steps": asked.max_steps, "patience": asked.max_steps}, host)


def drawn(plans: Plans, trials: int) -> list[dict[str, Any]]:
    dice, usual = random.Random(0), plans.first.settings.lr
    assert usual is not None
    return [{"lr": usual * AROUND ** dice.uniform(-1, 1), "rank": dice.choice(RANKS)} for _ in range(trials)]


def judged(table: Table) -> Sums:
    """What each trial finds of each row."""
    found = []
    for seat in table.seats:
        learner = Learner(seat.subject, seat.plan.settings)
        sums = []
        for row in seat.plan.objective.held_out(seat.plan.rows["validation"].rows):
            ((_, end),) = table.run([(seat, learner.evaluate([row]))])
            if isinstance(end, LftregError):
                raise end
            sums.append((end.loss * row.learned, row.learned))
        found.append(sums)
    return found


def tell(title: str, sums: Sums, draws: int) -> None:
    everything = range(len(sums[0]))
    whole = order(sums, everything)
    half = set(whole[: len(whole) // 2])
    print(f"{title}, {len(everything)} rows")
    dice = random.Random(0)
    for count in ROWS:
        if count >= len(everything):
            continue
        orders = [order(sums, dice.sample(everything, count)) for _ in range(draws)]
        kept = [len(half & set(one[: len(half)])) / len(half) for one in orders]
        worst = max(one.index(whole[0]) for one in orders) + 1
        print(
            f"{count:5} rows: {sum(kept) / len(kept):.3f} of the better half kept, {min(kept):.3f} at worst; "
            f"the best is at place {worst} at worst",
            flush=True,
        )


def order(sums: Sums, rows: Any) -> list[int]:
    """Trials by their loss in nats a token on some rows, the best first."""

    def loss(trial: int) -> float:
        found = sum(sums[trial][row][0] for row in rows) / sum(sums[trial][row][1] for row in rows)
        return found if math.isfinite(found) else math.inf

    return sorted(range(len(sums)), key=loss)


if __name__ == "__main__":
    main()
