"""Adapters that train side by side over one base, beside PEFT's model trained one after another.

    python benchmarks/together.py [--shape 1b] [--k 1 4 8 32] [--rows 1] [--tokens 256] [--steps 8] [--rounds 3]
                                  [--ranks 16] [--plain-lines] [--eager]

Both take the same random rows through the same base of random numbers, with adapters on every linear layer, and AdamW.
They are measured in turns, all adapters of the shared base and some of the single ones; a figure is the median over
rounds of how many times as many tokens a second the shared base learns, with the quartiles. Losses have to agree before
anything is told. On a GPU the peak of memory stands beside.
"""

from __future__ import annotations

import argparse
import platform
import random
import statistics
import time
from typing import Any

import torch
import transformers

from lftreg.models.fresh import add_adapter
from lftreg.models.tasks import CAUSAL
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import Row
from lftreg.training.alone import Alone
from lftreg.training.cohort import Member, Shared
from lftreg.training.lanes import Lane, lane_of
from lftreg.training.learner import Learner
from lftreg.training.processes import make_accelerator
from lftreg.training.settings import Settings

# hidden size, layers, heads, key-value heads, inner width, vocabulary
SHAPES = {
    "tiny": (64, 2, 4, 2, 128, 1000),
    "15m": (384, 8, 6, 2, 960, 8192),
    "0.1b": (768, 12, 12, 4, 2048, 32000),
    "1b": (2048, 16, 32, 8, 8192, 128256),
    "8b": (4096, 32, 32, 8, 14336, 128256),
}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
CLOSE = 2e-2  # of a loss, in bfloat16
SETTINGS = Settings(lr=1e-4, batch_size=10**6)


def base_of(shape: str) -> Any:
    hidden, layers, heads, shared, inner, words = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
        intermediate_size=inner, vocab_size=words, max_position_embeddings=32768, tie_word_embeddings=True,
    )  # fmt: skip
    cuda = torch.cuda.is_available()
    with torch.device("cuda" if cuda else "cpu"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16 if cuda else torch.float32
        )
    return model.requires_grad_(False).eval()


def objective() -> Causal:
    found = Causal.__new__(Causal)  # no tokenizer: rows are made of random ids
    found.prompt_dropout, found.opening_weight, found.room = 0.0, 1.0, None
    return found


def rows_of(k: int, count: int, tokens: int, words: int) -> list[list[Row]]:
    dice = random.Random(0)
    made = []
    for _ in range(k):
        some = [tuple(dice.randrange(words) for _ in range(tokens)) for _ in range(count)]
        made.append([Row(ids, (-100, *ids[1:])) for ids in some])
    return made


def lanes(model: Any, ranks: list[int], k: int, accelerator: Any) -> list[Lane]:
    made = []
    for number in range(k):
        torch.manual_seed(number)
        rank = ranks[number % len(ranks)]
        peft = add_adapter(model, CAUSAL, LINEAR, rank=rank, alpha=2 * rank)
        made.append(lane_of(peft, objective=objective(), accelerator=accelerator))
    return made


def synchronised() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def together(
    model: Any, k: int, given: argparse.Namespace, rows: list[list[Row]]
) -> tuple[float, list[float], float]:
    """Seconds a step of all, the last losses, and the peak in GiB."""
    made = lanes(model, given.ranks, k, make_accelerator())
    cuda = torch.cuda.is_available()
    with Shared(model, plain=given.plain_lines, stacked=cuda, compiling=cuda and not given.eager) as shared:
        for lane in made:
            shared.hook(lane)
        learners = [Learner(lane, SETTINGS) for lane in made]

        def step() -> list[Any]:
            steps = [
                Member(one.subject, one.step([some], 1e-4, told))
                for one, some in zip(learners, rows, strict=True)
            ]
            found = {id(member.lane): end for member, end in shared.run(steps)}
            return [found[id(lane)][0] for lane in made]

        return timed(step, given.steps)


def one_by_one(
    model: Any, k: int, given: argparse.Namespace, rows: list[list[Row]]
) -> tuple[float, list[float], float]:
    """The same of PEFT's model: each adapter has the base to itself, and the seconds are those of all of them, of
    which some are measured."""
    seconds, losses, peak = 0.0, [], 0.0
    some_of_them = range(min(k, given.alone))
    for number in some_of_them:
        torch.manual_seed(number)
        rank = given.ranks[number % len(given.ranks)]
        peft = add_adapter(model, CAUSAL, LINEAR, rank=rank, alpha=2 * rank)
        alone = Alone(peft, objective(), make_accelerator(), False)
        learner = Learner(alone, SETTINGS)

        def step(alone: Any = alone, learner: Any = learner, some: Any = rows[number]) -> list[Any]:
            return [alone.run(learner.step([some], 1e-4, told))[0]]

        took, last, most = timed(step, given.steps)
        seconds, peak = seconds + took, max(peak, most)
        losses += last
        peft.unload()
    return seconds * k / len(some_of_them), losses, peak


def told(rows: int, checkpointing: bool) -> None:
    raise SystemExit("memory ran out")


def timed(step: Any, steps: int) -> tuple[float, list[float], float]:
    """Seconds a step, behind two that warm up."""
    for _ in range(2):
        step()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    began = synchronised()
    for _ in range(steps):
        last = step()
    seconds = (synchronised() - began) / steps
    peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
    return seconds, [float(loss) for loss in last], peak


def print_peaks(model: Any, given: argparse.Namespace) -> None:
    """The peak of the most adapters, and of one that has all their rows, without what adapters are and remember."""
    most, found = max(given.k), {}
    for k in (1, most):
        rows = rows_of(k, given.rows * most // k, given.tokens, SHAPES[given.shape][5])
        numbers = sum(
            p.numel() for lane in lanes(model, given.ranks, k, make_accelerator()) for p in lane.parameters
        )
        _, _, peak = together(model, k, given, rows)
        found[k] = peak - 16 * numbers / 2**30  # a number, its gradient, and two moments
        print(
            f"k={k}: peak {peak:.2f} GiB, without numbers, gradients and moments {found[k]:.2f}", flush=True
        )
    print(f"peak of {most} to that of 1 at equal tokens: {found[most] / found[1]:.3f}")


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
    where = (
        torch.cuda.get_device_name()
        if torch.cuda.is_available()
        else f"{platform.machine()}, {torch.get_num_threads()} threads"
    )
    print(f"{where}, torch {torch.__version__}, transformers {transformers.__version__}; {given.shape}, "
          f"{given.rows} x {given.tokens} tokens a step, ranks {given.ranks}")  # fmt: skip
    model = base_of(given.shape)
    if given.peak:
        print_peaks(model, given)
        return
    for k in given.k:
        rows = rows_of(k, given.rows, given.tokens, SHAPES[given.shape][5])
        ratios, peaks, speeds = [], (0.0, 0.0), []
        for _ in range(given.rounds):
            ours, losses, most = together(model, k, given, rows)
            theirs, wanted, least = one_by_one(model, k, given, rows)
            for loss, other in zip(losses, wanted, strict=False):
                assert abs(loss - other) <= CLOSE * other, (losses, wanted)
            ratios.append(theirs / ours)
            speeds.append(k * given.rows * given.tokens / ours)
            peaks = (max(peaks[0], most), max(peaks[1], least))
        low, middle, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        memory = f", peak {peaks[0]:.1f} GiB (one: {peaks[1]:.1f})" if peaks[0] else ""
        print(
            f"k={k}: {middle:.2f} [{low:.2f}-{high:.2f}] x, {statistics.median(speeds):,.0f} tokens/s{memory}",
            flush=True,
        )


if __name__ == "__main__":
    main()
