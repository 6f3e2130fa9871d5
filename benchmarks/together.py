"""Adapters that train side by side over one base, beside PEFT's model trained one after another.

    python benchmarks/together.py [--shape 1b] [--k 1 4 8 32] [--rows 1] [--tokens 256] [--steps 8] [--rounds 3]
                                  [--ranks 16] [--plain-lines] [--eager]

Both take the same random rows through the same base of random numbers, with adapters on every linear layer, and AdamW.
They are measured in turns, all adapters of the shared base and some of the single ones; a figure is the median over
rounds of how many times as many tokens a second the shared base learns, with the quartiles. Losses have to agree before
anything is told. On a GPU the peak of memory stands beside, on a CPU the same ratio of processor seconds, to which
other work on the machine does less.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import transformers

from lftreg.models.fresh import add_adapter
from lftreg.models.tasks import CAUSAL
from lftreg.training.alone import Alone
from lftreg.training.cohort import Shared
from lftreg.training.learner import Learner
from lftreg.training.processes import make_accelerator
from lftreg.training.settings import Settings
from training_bases import (
    LINEAR,
    RATE,
    SHAPES,
    base_of,
    in_steps,
    lanes_of,
    machine,
    objective,
    peak,
    reset_peak,
    step_of,
    synchronised,
)

CLOSE = 2e-2  # of a loss, in bfloat16
MOST = 10**6  # rows of a pass: all of them


class Timed(NamedTuple):
    """What a step of all adapters took: seconds by the wall and of the processor, the last losses, the peak in GiB."""

    seconds: float
    processor: float
    losses: list[float]
    peak: float


def rows_of(k: int, count: int, tokens: int, words: int) -> list[list[Any]]:
    """Steps of `k` adapters, of rows of random ids."""
    dice = random.Random(0)
    drawn = [[tuple(dice.randrange(words) for _ in range(tokens)) for _ in range(count)] for _ in range(k)]
    return [in_steps(some, count * tokens)[0] for some in drawn]


def ranks_of(k: int, given: argparse.Namespace) -> list[int]:
    return [given.ranks[number % len(given.ranks)] for number in range(k)]


def together(model: Any, k: int, given: argparse.Namespace, rows: list[list[Any]]) -> Timed:
    lanes, learners, shrunk = lanes_of(model, ranks_of(k, given), MOST)
    cuda = torch.cuda.is_available()
    with Shared(model, plain=given.plain_lines, stacked=cuda, compiling=cuda and not given.eager) as shared:
        for lane in lanes:
            shared.hook(lane)
        found = timed(lambda: step_of(shared, lanes, learners, rows), given.steps)
    if shrunk:  # a step in parts is another measurement
        told(*shrunk[-1])
    return found


def one_by_one(model: Any, k: int, given: argparse.Namespace, rows: list[list[Any]]) -> Timed:
    """The same of PEFT's model: each adapter has the base to itself, and the seconds are those of all of them, of
    which some are measured."""
    found = []
    ranks = ranks_of(min(k, given.alone), given)
    for number, rank in enumerate(ranks):
        torch.manual_seed(number)
        peft = add_adapter(model, CAUSAL, LINEAR, rank=rank, alpha=2 * rank)
        alone = Alone(peft, objective(), make_accelerator(), False)
        learner = Learner(alone, Settings(rank=rank, lr=RATE, batch_size=MOST))

        def step(alone: Any = alone, learner: Any = learner, some: Any = rows[number]) -> list[float]:
            return [alone.run(learner.step([some], RATE, told))[0]]

        found.append(timed(step, given.steps))
        peft.unload()
    share = k / len(ranks)
    return Timed(
        share * sum(one.seconds for one in found),
        share * sum(one.processor for one in found),
        [loss for one in found for loss in one.losses],
        max(one.peak for one in found),
    )


def told(rows: int, checkpointing: bool) -> None:
    raise SystemExit("memory ran out")


def timed(step: Callable[[], list[float]], steps: int) -> Timed:
    """Of a step, behind two that warm up."""
    reset_peak()
    for _ in range(2):
        step()
    began, worked = synchronised(), time.process_time()
    for _ in range(steps):
        last = step()
    return Timed((synchronised() - began) / steps, (time.process_time() - worked) / steps, last, peak())


def print_peaks(model: Any, given: argparse.Namespace) -> None:
    """The peak of the most adapters, and of one that has all their rows, without what adapters are and remember."""
    most, found = max(given.k), {}
    for k in (1, most):
        rows = rows_of(k, given.rows * most // k, given.tokens, SHAPES[given.shape][5])
        lanes, _, _ = lanes_of(model, ranks_of(k, given), MOST)
        numbers = sum(p.numel() for lane in lanes for p in lane.parameters)
        del lanes
        highest = together(model, k, given, rows).peak
        found[k] = highest - 16 * numbers / 2**30  # a number, its gradient, and two moments
        print(
            f"k={k}: peak {highest:.2f} GiB, without numbers, gradients and moments {found[k]:.2f}",
            flush=True,
        )
    print(f"peak of {most} to that of 1 at equal tokens: {found[most] / found[1]:.3f}")


def spread(ratios: list[float]) -> str:
    """The median, and the quartiles."""
    low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
    return f"{middle:.2f} [{low:.2f}-{high:.2f}]"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shape", choices=SHAPES, default="1b" if torch.cuda.is_available() else "15m")
    parser.add_argument("--k", type=int, nargs="+", default=[1, 4, 8, 32])
    parser.add_argument("--rows", type=int, default=1, help="of each adapter in a step")
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--ranks", type=int, nargs="+", default=[16])
    parser.add_argument(
        "--alone", type=int, default=4, help="adapters that are measured one by one; the rest take as long"
    )
    parser.add_argument(
        "--peak", action="store_true", help="only memory: of the most adapters, and of one with as many rows"
    )
    parser.add_argument("--eager", action="store_true", help="compile nothing")
    parser.add_argument("--plain-lines", action="store_true", help="fill rows up, one a line")
    given = parser.parse_args()
    print(f"{machine()}, torch {torch.__version__}, transformers {transformers.__version__}; {given.shape}, "
          f"{given.rows} x {given.tokens} tokens a step, ranks {given.ranks}")  # fmt: skip
    model = base_of(given.shape)
    if given.peak:
        print_peaks(model, given)
        return
    for k in given.k:
        rows = rows_of(k, given.rows, given.tokens, SHAPES[given.shape][5])
        pairs = []
        for _ in range(given.rounds):
            ours, theirs = together(model, k, given, rows), one_by_one(model, k, given, rows)
            for loss, other in zip(ours.losses, theirs.losses, strict=False):
                assert abs(loss - other) <= CLOSE * other, (ours.losses, theirs.losses)
            pairs.append((ours, theirs))
        speed = statistics.median(k * given.rows * given.tokens / ours.seconds for ours, _ in pairs)
        line = f"k={k}: {spread([theirs.seconds / ours.seconds for ours, theirs in pairs])} x, {speed:,.0f} tokens/s"
        if torch.cuda.is_available():
            most, least = (max(one.peak for one in some) for some in zip(*pairs, strict=True))
            line += f", peak {most:.1f} GiB (one: {least:.1f})"
        else:
            line += f", of the processor {spread([theirs.processor / ours.processor for ours, theirs in pairs])} x"
        print(line, flush=True)


if __name__ == "__main__":
    main()
