"""What composing costs, in ratios measured side by side: adapters of a 7B model, made at random.

    python benchmarks/compose.py [--home FOLDER] [--rounds 5] [--only copy memory cold layer many invariance methods]

32 layers, 7 targets, rank 16, float32: 152.5 MiB an adapter. The home needs 2 GB of disk, that of `many` 16 GB.
Every ratio compares figures of one run, taken in turns; medians, with the smallest and largest in brackets.
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
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from lftreg.paths import Home
from lftreg.registry import WEIGHTS, Base, Draft, Registry
from lftreg.tensors import header_bytes

TARGETS = {
    "self_attn.q_proj": (4096, 4096), "self_attn.k_proj": (4096, 4096), "self_attn.v_proj": (4096, 4096),
    "self_attn.o_proj": (4096, 4096), "mlp.gate_proj": (11008, 4096), "mlp.up_proj": (11008, 4096),
    "mlp.down_proj": (4096, 11008),
}  # fmt: skip
BASE = Base("7b" * 32, "/nowhere/llama-7b", "llama", 6_738_415_616)
RANK = 16


def publish(registry: Registry, name: str, seed: int, layers: int = 32) -> None:
    """An adapter of the 7B shape, at random."""
    dice = np.random.default_rng(seed)
    tensors = {}
    for layer in range(layers):
        for target, (outputs, inputs) in TARGETS.items():
            stem = f"base_model.model.model.layers.{layer}.{target}.lora_"
            tensors[f"{stem}A.weight"] = ("F32", (RANK, inputs))
            tensors[f"{stem}B.weight"] = ("F32", (outputs, RANK))
    tensors = dict(sorted(tensors.items()))
    config = {
        "peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK, "bias": "none", "task_type": "CAUSAL_LM",
        "target_modules": [target.rpartition(".")[2] for target in TARGETS], "init_lora_weights": True,
        "base_model_name_or_path": BASE.id,
    }  # fmt: skip
    with registry.blobs.staging() as stage, stage.streaming() as stream:
        stream.write(header_bytes(tensors, {"format": "pt"}))
        for _, shape in tensors.values():
            stream.write(dice.standard_normal(shape, np.float32) * np.float32(0.02))
        registry.publish(Draft(name, "trained", BASE, stream.keep(), config))


def prepared(home: Path, adapters: int) -> Registry:
    registry = Registry(Home(home))
    for n in range(adapters):
        if not registry.list(name=f"x{n}"):
            publish(registry, f"x{n}", n)
    return registry


def words(adapters: int) -> list[str]:
    return [f"x{n}:{0.7 - 0.4 * (n % 2):g}" for n in range(adapters)]


def told(name: str, times: list[float], unit: str = "s") -> str:
    return f"{name:<46} {statistics.median(times):8.3f} {unit}  [{min(times):.3f} .. {max(times):.3f}]"


def ratio(name: str, upper: list[float], lower: list[float], gate: str) -> None:
    each = [a / b for a, b in zip(upper, lower, strict=True)]
    print(
        f"  -> {name}: {statistics.median(each):.2f}  [{min(each):.2f} .. {max(each):.2f}]   (asked: {gate})",
        flush=True,
    )


# Against a raw copy


def child(part: str, *args: object, env: dict[str, str] | None = None) -> Any:
    """What a part of `compose_inside.py` measures, in a process of its own."""
    inside = Path(__file__).with_name("compose_inside.py")
    done = subprocess.run(
        [sys.executable, inside, part, *map(str, args)],
        stdout=subprocess.PIPE, text=True, check=True, env=os.environ | (env or {}),
    )  # fmt: skip
    return json.loads(done.stdout.splitlines()[-1])


def against_copy(home: Path, rounds: int) -> None:
    """Time of the engine beside a copy of its parents' bytes: read and written through the page cache."""
    prepared(home, 2)
    print("\nfactors engine against a raw copy of the same 305 MiB to a new file, in turns")
    floor = [child("hashing", home) for _ in range(3)]
    print(told("sha256 of input and output, on two threads", floor))
    for method, rank, mode, name, gate in (
        ("cat", 0, "kernel", "cat, the kernel alone", "<= 1.25"),
        ("cat", 0, "hashed", "cat, input verified, output hashed", "<= 2.0"),
        ("cat", 0, "measured", "cat, and the result measured layer by layer", "no figure"),
        ("svd", 16, "hashed", "svd to rank 16, verified and hashed", "<= 5"),
        ("svd", 16, "measured", "svd to rank 16, and the result measured", "no figure"),
    ):
        pairs = [
            pair for _ in range(max(1, rounds // 2)) for pair in child("beside", home, method, 2, rank, mode)
        ]
        copies, engines = [c for c, _ in pairs], [e for _, e in pairs]
        print(told("raw copy", copies))
        print(told(name, engines))
        ratio(name, engines, copies, gate)


# Whole processes


def cold(home: Path, rounds: int) -> None:
    """`lftreg compose` from its start to its end, by either engine, registry and report and all."""
    prepared(home, 2)
    print("\na whole cold process, `lftreg compose` with registry, report and picture")
    times: dict[str, list[float]] = {"factors": [], "peft": []}
    for number in range(rounds):
        for engine, found in times.items():
            parents = ["x0:0.7", f"x1:{0.3 + time.time() % 1e-3:.9f}"]  # new content: nothing is written over
            typed = [*parents, "--name", f"cold{number}", "--engine", engine, "-q"]
            started = time.perf_counter()
            subprocess.run(
                [sys.executable, "-m", "lftreg", "--home", str(home), "compose", *typed],
                check=True, capture_output=True,
            )  # fmt: skip
            found.append(time.perf_counter() - started)
    for engine, found in times.items():
        print(told(f"cat by {engine}", found))
    ratio("PEFT / factors", times["peft"], times["factors"], ">= 8, stretch 15")


def memory(home: Path, rounds: int) -> None:
    """Peak resident memory above that of a bare interpreter, libraries and all."""
    prepared(home, 2)
    bare = child("bare")
    print(f"\npeak memory above a bare interpreter ({bare:.0f} MiB)")
    for method, rank, gate in (("cat", 0, 128), ("svd", 16, 256)):
        found = [child("peak", home, method, 2, rank) - bare for _ in range(3)]
        print(told(f"{method}, two adapters", found, "MiB") + f"   (asked: <= {gate})")


# One layer by PEFT's own svd


def layer(home: Path, rounds: int) -> None:
    """svd of one layer by PEFT's defaults, and by factors."""
    print("\nsvd of one layer to rank 16: PEFT's defaults against the factors")
    for size in (1024, 2048, 4096):
        peft, ours, true, foretold = child("layer", size, env={"OMP_NUM_THREADS": "1"})
        print(
            f"  {size} x {size}: PEFT {peft:.1f} s, factors {ours * 1e3:.2f} ms -> {peft / ours:,.0f} times"
            f" (asked at 4096: >= 5,000); error {true:.8f}, foretold {foretold:.8f}",
            flush=True,
        )


# A hundred adapters


def many(home: Path, rounds: int) -> None:
    """A hundred adapters of the whole 7B: memory of cat, time to rank 16, how near the sketch is to the best."""
    prepared(home, 100)
    bare = child("bare")
    print("\na hundred adapters")
    flat = {n: child("peak", home, "cat", n, 0) - bare for n in (2, 10, 32, 100)}
    print("  cat, peak MiB by number: " + ", ".join(f"{n}: {mib:.0f}" for n, mib in flat.items()))
    print(f"  -> largest / N=2: {max(flat.values()) / flat[2]:.2f}   (asked: within 1.10, and <= 128 MiB)")
    started = time.perf_counter()
    peak = child("peak", home, "svd", 100, 16) - bare
    print(
        f"  svd to rank 16, whole process: {time.perf_counter() - started:.1f} s, peak {peak:.0f} MiB (asked: 180 s)"
    )
    from lftreg.composer.layers import Pair, grams_of
    from lftreg.composer.lowrank import cut, decompose
    from lftreg.tensors import Source

    registry = Registry(Home(home))
    sources = [Source(registry.file(registry.get(f"x{n}"), WEIGHTS)) for n in range(100)]
    for target in ("self_attn.q_proj", "mlp.down_proj"):
        stem = f"base_model.model.model.layers.0.{target}.lora_"
        b = np.hstack([s.read(f"{stem}B.weight") for s in sources])
        a = np.vstack([s.read(f"{stem}A.weight") for s in sources])
        c = np.repeat([2 * (0.7 - 0.4 * (n % 2)) for n in range(100)], RANK)
        _, sketched = cut(Pair(b, a, c), 16, target)
        best = decompose(grams_of(b, a), c).spectrum
        off = (sketched.lost(16) / best.lost(16)) ** 0.5 - 1
        print(f"  {target}: the sketch's error is {off:.3%} above the least (asked: 0.5 %)")


def methods(home: Path, rounds: int) -> None:
    """Every method on two random adapters of a small base at .7/.3: its error, and its time."""
    from lftreg import compose
    from lftreg.plugins.host import Host

    registry = Registry(Home(home / "small"))
    dice = np.random.default_rng(0)
    if not registry.list(name="s0"):
        for n in range(2):
            stem = "base_model.model.model.layers.0.self_attn.q_proj.lora_"
            tensors = {f"{stem}A.weight": ("F32", (16, 512)), f"{stem}B.weight": ("F32", (512, 16))}
            config = {
                "peft_type": "LORA",
                "r": 16,
                "lora_alpha": 16,
                "target_modules": ["q_proj"],
                "bias": "none",
            }
            with registry.blobs.staging() as stage, stage.streaming() as stream:
                stream.write(header_bytes(tensors))
                for _, shape in tensors.values():
                    stream.write(dice.standard_normal(shape, np.float32))
                registry.publish(Draft(f"s{n}", "trained", BASE, stream.keep(), config))
    print(
        "\nmethods at their defaults, two random adapters of rank 16 at 0.7 and 0.3, one layer of 512 x 512"
    )
    for name in Host(external=False).methods():
        started = time.perf_counter()
        made = compose(
            ["s0:0.7", "s1:0.3"], registry=registry, method=name, name=f"m-{name.replace('_', '-')}"
        )
        assert made.recipe is not None
        print(
            f"  {name:<22} error {made.recipe.relative_error:9.2e}   {time.perf_counter() - started:6.2f} s"
        )


PARTS: dict[str, Callable[[Path, int], None]] = {
    "copy": against_copy, "memory": memory, "cold": cold, "layer": layer, "methods": methods, "many": many,
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=[p for p in PARTS if p != "many"])
    asked = parser.parse_args()
    libraries = ", ".join(f"{n} {version(n)}" for n in ("numpy", "torch", "peft", "sqlalchemy"))
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} processors, {libraries}")
    with tempfile.TemporaryDirectory(prefix="lftreg-") as folder:
        home = asked.home or Path(folder)
        for part in asked.only:
            PARTS[part](home, asked.rounds)


if __name__ == "__main__":
    main()
