"""Do weights that are found on data beat the best adapter alone? Two adapters of the starter, four sets of rows.

The rows are wordings that no adapter was trained on: of one domain, of the other, of both, and of a third. The
adapters are taken from a home where they are there, and trained otherwise.

    python benchmarks/fit.py [--home FOLDER] [--steps 40] [--seeds 0] [--max-steps N]

Prints the loss of every candidate on the held-out rows in nats a token, and the 95 % interval of its
difference to the best single adapter (below 0 is better), per adapter and per layer.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Literal, get_args

import peft
import torch
import transformers

import lftreg
from lftreg.composer.fitting.fit import Fitted, fit_weights
from lftreg.errors import NotFound
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.registry import Registry

ADAPTERS = ("customer_support", "financial_advisor")
DATA = {
    "customer_support": ADAPTERS[:1],
    "financial_advisor": ADAPTERS[1:],
    "both": ADAPTERS,
    "creative_writing": ("creative_writing",),
}
Per = Literal["adapter", "layer"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--home", type=Path, help="where the adapters are, or are put")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--max-steps", type=int, help="of the training, where it is needed")
    parser.add_argument("--data", nargs="+", choices=DATA, default=list(DATA))
    asked = parser.parse_args()
    print(
        f"# {os.cpu_count()} cores, {torch.get_num_threads()} threads, {platform.machine()}, "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}, "
        f"peft {peft.__version__}, lftreg {lftreg.__version__}"
    )
    with tempfile.TemporaryDirectory() as folder:
        registry = Registry(Home(asked.home or Path(folder)))
        for name in ADAPTERS:
            supply(name, registry, asked.max_steps)
        for data in asked.data:
            file = write(DATA[data], Path(folder) / f"{data}.jsonl")
            for per in get_args(Per):
                for seed in asked.seeds:
                    show(
                        data,
                        fit_weights(
                            ADAPTERS, [file], per=per, steps=asked.steps, seed=seed, registry=registry
                        ),
                    )


def supply(name: str, registry: Registry, max_steps: int | None) -> None:
    try:
        version = registry.get(name)
    except NotFound:
        version = lftreg.train(name, registry=registry, max_steps=max_steps)
    assert version.run is not None
    print(f"# {version.ref}, {version.run.settings['steps']} steps, {version.digest[:12]}")


def write(domains: tuple[str, ...], path: Path) -> Path:
    """The wordings of some domains that training does not see."""
    rows = [
        {"prompt": example.prompt, "response": example.response}
        for domain in domains
        for split in ("validation", "test")
        for example in Host().domain(domain).build(split, 0)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def show(data: str, fitted: Fitted) -> None:
    rows = ", ".join(f"{count} {split}" for split, count in fitted.rows.items())
    print(f"\n{data}, per {fitted.per}, seed {fitted.seed}: rows {rows}; {fitted.seconds:.1f} s")
    print(f"  {fitted.forwards} forwards, from {fitted.start}, best at step {fitted.best_step}")
    for n, ref in enumerate(fitted.parents):
        found = fitted.layers[n].values() if fitted.layers is not None else [(fitted.weights or ())[n]]
        print(f"  {ref:24}{' '.join(f'{weight:6.2f}' for weight in found)}")
    for one in fitted.compared:
        between = "" if one.ci95 is None else f"{one.ci95[0]:+8.3f} to {one.ci95[1]:+.3f}"
        print(f"  {one.name:24}{one.loss:8.4f}  {between}")
    print(f"  {fitted.verdict}", flush=True)


if __name__ == "__main__":
    main()
