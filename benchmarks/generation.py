"""How much faster a batch of prompts is answered than one prompt after another, and whether the answers are the same.

    python benchmarks/generation.py [--rounds 5] [--prompts 117] [--max-tokens 64] [--domain customer_support]
                                    [--adapter] [--every-domain]

The prompts are a domain's test split, answered greedily by `base:starter`; with --adapter also by an adapter of random
factors on all its linear layers. The two ways are taken in turns in one process, and every pair gives a ratio: of wall
time, and of the processor's time, which other work on the machine distorts less. Texts that differ end it with an
error. --every-domain compares the texts of all test prompts, and times nothing.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import lftreg
from lftreg.models.generate import Decoding, Generation, Speaker
from lftreg.plugins.host import Host

BASE = "base:starter"
GATE = 5.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--prompts", type=int, default=117)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--domain", default="customer_support")
    parser.add_argument("--adapter", action="store_true")
    parser.add_argument("--every-domain", action="store_true")
    asked = parser.parse_args()
    print(machine(), flush=True)
    speaker = Speaker([BASE])
    if asked.adapter:
        with tempfile.TemporaryDirectory() as folder:
            speaker.add("random", random_adapter(Path(folder)))
    decoding = Decoding(asked.max_tokens)
    for ref in speaker.refs:
        if asked.every_domain:
            for domain in Host().domains():
                compare(speaker, ref, domain, decoding)
        else:
            race(speaker, ref, prompts_of(asked.domain)[: asked.prompts], decoding, asked.rounds)


def race(speaker: Speaker, ref: str, prompts: list[str], decoding: Decoding, rounds: int) -> None:
    """The two ways in turns, and the ratios of their times."""
    speaker.answer(ref, prompts[:2], decoding)
    walls, works = [], []
    for number in range(rounds):
        ways: list[Callable[[], list[Generation]]] = [
            lambda: alone(speaker, ref, prompts, decoding),
            lambda: speaker.answer(ref, prompts, decoding),
        ]
        told = [timed(way) for way in (ways if number % 2 else reversed(ways))]
        one, many = told if number % 2 else reversed(told)
        same(ref, one[2], many[2])
        walls.append(one[0] / many[0])
        works.append(one[1] / many[1])
        print(
            f"  {ref}, round {number + 1}: one by one {one[0]:.2f} s, together {many[0]:.2f} s, "
            f"{walls[-1]:.2f} times (processor {works[-1]:.2f}); load {os.getloadavg()[0]:.1f}",
            flush=True,
        )
    tokens = sum(generation.tokens for generation in many[2])
    print(f"{ref}: {len(prompts)} prompts, {tokens} tokens, texts equal in every round")
    print(f"  -> wall time: {spread(walls)}   (asked: >= {GATE:g})")
    print(f"  -> processor time: {spread(works)}", flush=True)


def compare(speaker: Speaker, ref: str, domain: str, decoding: Decoding) -> None:
    prompts = prompts_of(domain)
    same(ref, alone(speaker, ref, prompts, decoding), speaker.answer(ref, prompts, decoding))
    print(f"{ref}: {domain}, {len(prompts)} prompts, texts equal", flush=True)


def alone(speaker: Speaker, ref: str, prompts: list[str], decoding: Decoding) -> list[Generation]:
    return [speaker.answer(ref, [prompt], decoding)[0] for prompt in prompts]


def same(ref: str, one: list[Generation], other: list[Generation]) -> None:
    differing = [(a, b) for a, b in zip(one, other, strict=True) if a != b]
    for a, b in differing:
        print(f"{ref} differs on {a.prompt!r}:\n  alone    {a.text!r}\n  together {b.text!r}")
    if differing:
        sys.exit(f"{len(differing)} of {len(one)} answers differ")


def timed(way: Callable[[], list[Generation]]) -> tuple[float, float, list[Generation]]:
    wall, work = time.perf_counter(), time.process_time()
    made = way()
    return time.perf_counter() - wall, time.process_time() - work, made


def spread(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} times  [{min(ratios):.2f} .. {max(ratios):.2f}]"


def prompts_of(domain: str) -> list[str]:
    return [example.prompt for example in Host().domain(domain).build("test", 0)]


def random_adapter(folder: Path) -> Path:
    """Factors at random on all linear layers of the starter, as PEFT writes them."""
    import torch
    from peft import LoraConfig, get_peft_model

    from lftreg.models.base import find_base
    from lftreg.models.load import load_base

    torch.manual_seed(0)
    config = LoraConfig(r=16, lora_alpha=1, target_modules="all-linear", init_lora_weights=False)
    get_peft_model(load_base(find_base("starter")).model, config).save_pretrained(folder)
    return folder


def machine() -> str:
    import torch
    import transformers

    return (
        f"# {len(os.sched_getaffinity(0))} cores, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"lftreg {lftreg.__version__}, load {os.getloadavg()[0]:.1f}"
    )


if __name__ == "__main__":
    main()
