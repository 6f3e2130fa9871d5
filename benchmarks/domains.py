"""Does training on a built-in domain teach it? And how does a plain look-up do on the same questions?

For each domain: `lftreg train DOMAIN` in an empty home, timed as a whole process, then a greedy
answer to every test wording of the facts that training saw. An answer is right when, of all the
facts' answers, the one it is nearest to by ROUGE-L is the fact that was asked for. BM25 is given
the same questions: it looks up the nearest training wording and returns that fact.

    python benchmarks/domains.py [DOMAIN...] [--seeds 0 1 2]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import bm25s
from rouge_score.rouge_scorer import RougeScorer

import lftreg
from lftreg.models.generate import Decoding, Speaker
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.plugins.types import Domain, Example

DOMAINS = ("customer_support", "financial_advisor")


@dataclass(frozen=True)
class Result:
    domain: str
    seconds: float
    before: float
    after: float
    right: float
    looked_up: float
    base: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("domains", nargs="*", default=DOMAINS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--json", type=Path)
    parser.add_argument("--options", nargs=argparse.REMAINDER, default=[], help="passed on to lftreg train")
    asked = parser.parse_args()
    host = Host()
    print(machine())
    print(f"{'domain':20} {'seed':>4} {'wall s':>7} {'nats before':>11} {'after':>6} {'ratio':>6} "
          f"{'right':>6} {'BM25':>6} {'base':>6}")  # fmt: skip
    results = []
    for name in asked.domains:
        for seed in asked.seeds:
            result = measure(host.domain(name), seed, asked.options)
            results.append(result)
            print(f"{name:20} {seed:4} {result.seconds:7.1f} {result.before:11.3f} {result.after:6.3f} "
                  f"{result.after / result.before:6.3f} {result.right:6.1%} {result.looked_up:6.1%} "
                  f"{result.base:6.1%}", flush=True)  # fmt: skip
    for name in asked.domains:
        rates = [r.right for r in results if r.domain == name]
        print(f"{name}: right {statistics.mean(rates):.1%}, from {min(rates):.1%} to {max(rates):.1%}")
    if asked.json:
        asked.json.write_text(json.dumps([result.__dict__ for result in results], indent=2) + "\n")


def measure(domain: Domain, seed: int, options: list[str]) -> Result:
    """Train in a home of its own, and ask every test wording of a seen fact."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        command = [
            sys.executable,
            "-m",
            "lftreg",
            "train",
            domain.name,
            "--seed",
            str(seed),
            "--json",
            *options,
        ]
        started = time.perf_counter()
        done = subprocess.run(
            command, env=os.environ | {"LFTREG_HOME": folder}, capture_output=True, text=True, check=False
        )
        seconds = time.perf_counter() - started
        if done.returncode:
            sys.exit(done.stderr)
        loss = json.loads(done.stdout)["loss"]
        asked = [example for example in domain.build("test", 0) if example.seen]
        answers = {example.fact: example.response for example in asked}
        speaker = Speaker([domain.name, "base:starter"], lftreg.Registry(home))
        right, base = (
            share_right(
                asked, [g.text for g in speaker.answer(ref, [e.prompt for e in asked], Decoding(80))], answers
            )
            for ref in (domain.name, "base:starter")
        )
    return Result(
        domain.name, seconds, loss["validation_before"], loss["validation_after"], right,
        share_looked_up(list(domain.build("train", 0)), asked), base,
    )  # fmt: skip


def share_right(asked: list[Example], texts: list[str], answers: dict[str | None, str]) -> float:
    """The share of texts that are nearest, by ROUGE-L, to the answer of the fact asked for."""
    scorer = RougeScorer(["rougeL"])
    right = 0
    for example, text in zip(asked, texts, strict=True):
        nearest = max(answers, key=lambda fact: scorer.score(answers[fact], text)["rougeL"].fmeasure)
        right += nearest == example.fact
    return right / len(asked)


def share_looked_up(known: list[Example], asked: list[Example]) -> float:
    """The share of questions whose nearest training wording, by BM25, asks for the same fact."""
    index = bm25s.BM25()
    index.index(bm25s.tokenize([e.prompt for e in known], show_progress=False), show_progress=False)
    tokens = bm25s.tokenize([e.prompt for e in asked], show_progress=False)
    found, _ = index.retrieve(tokens, k=1, show_progress=False)
    return sum(known[hit[0]].fact == example.fact for hit, example in zip(found, asked, strict=True)) / len(
        asked
    )


def machine() -> str:
    import torch
    import transformers

    return (
        f"# {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, transformers {transformers.__version__}, lftreg {lftreg.__version__}"
    )


if __name__ == "__main__":
    main()
