"""What the gate costs, and what a registry of near-identical versions takes.

An adapter of a gigabyte, in the cache of the system, is validated (sha256, header, every number looked at) and, in
turns, hashed by `sha256sum` and by Python's hashlib: at most 1.4 times as long as `sha256sum`. A whole import copies
it, too. Then 50 versions are registered whose weights and configurations mostly repeat each other: at most 1.1 times
their unique bytes on the disk, the database among it.

    python benchmarks/gate.py [--gigabytes 1.0] [--rounds 5] [--dtype BF16]
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from lftreg.paths import Home
from lftreg.registry import Base, Draft, Registry
from lftreg.tensors import admit_file, header_bytes
from lftreg.tensors.gate import WEIGHTS

LIMIT, DISK = 1.4, 1.1
RANK, LAYERS = 64, 32
BASE = Base("a" * 64, "some-base", "llama", 7_000_000_000)
SETTINGS = {
    "peft_type": "LORA",
    "r": RANK,
    "lora_alpha": 128,
    "target_modules": ["q_proj", "v_proj", "up_proj"],
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gigabytes", type=float, default=1.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--dtype", choices=("F32", "BF16", "F16"), default="BF16")
    parser.add_argument("--folder", type=Path)
    asked = parser.parse_args()
    print(
        f"# {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, numpy {np.__version__}"
    )
    with tempfile.TemporaryDirectory(dir=asked.folder) as name:
        ratio = validation(Path(name), int(asked.gigabytes * 1e9), asked.rounds, asked.dtype)
        share = disk(Path(name))
    if ratio > LIMIT or share > DISK:
        sys.exit(f"over {LIMIT} of sha256sum, or over {DISK} of the unique bytes")


def validation(folder: Path, size: int, rounds: int, dtype: str) -> float:
    """The median ratio of validation to `sha256sum`, each round of one file and one moment."""
    file = write(folder / WEIGHTS, size, dtype, seed=0)
    print(f"{file.stat().st_size / 1e9:.2f} GB of {dtype}, seconds: median (min to max)")

    def hashed() -> str:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()

    def summed() -> str:
        return subprocess.run(
            ["sha256sum", str(file)], capture_output=True, text=True, check=True
        ).stdout.split()[0]

    def copied() -> str:
        target = folder / "copy"
        target.unlink(missing_ok=True)
        return admit_file(file, SETTINGS, target).sha256

    ways: dict[str, Callable[[], str]] = {
        "sha256sum": summed,
        "hashlib": hashed,
        "validation": lambda: admit_file(file, SETTINGS, None).sha256,
        "validation and copy": copied,
    }
    digest = {way: call() for way, call in ways.items()}
    assert len(set(digest.values())) == 1, digest
    took: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, call in ways.items():
            began = time.perf_counter()
            call()
            took[way].append(time.perf_counter() - began)
    (folder / "copy").unlink()
    file.unlink()
    for way, seconds in took.items():
        ratios = [s / whole for s, whole in zip(seconds, took["sha256sum"], strict=True)]
        plain = [s / whole for s, whole in zip(seconds, took["hashlib"], strict=True)]
        print(f"{way:<20} {told(seconds)}   {told(ratios)} x sha256sum   {told(plain)} x hashlib")
    return statistics.median(v / s for v, s in zip(took["validation"], took["sha256sum"], strict=True))


def disk(folder: Path) -> float:
    """What the home of 50 versions takes, to the bytes of the files in it that differ."""
    unique: dict[str, int] = {}
    with Registry(Home(folder / "home")) as registry:
        for number in range(50):
            file = write(folder / "w.safetensors", 20_000_000, "BF16", seed=number // 10)
            config = SETTINGS | {"lora_alpha": 16 + number}
            made = registry.publish(
                Draft(
                    "near",
                    "imported",
                    BASE,
                    file,
                    config,
                    attachments={"notes.json": json.dumps(number).encode()},
                )
            )
            unique |= {stored.sha256: stored.size for stored in made.files}
            file.unlink()
    taken = sum(path.stat().st_blocks * 512 for path in (folder / "home").rglob("*"))
    share = taken / sum(unique.values())
    differ = sum(unique.values()) / 1e6
    print(f"50 versions of 5 weights: {differ:.1f} MB differ, {taken / 1e6:.1f} MB taken: {share:.3f}")
    return share


def write(path: Path, size: int, dtype: str, seed: int) -> Path:
    """An adapter of about `size` bytes, of random finite numbers."""
    draw = np.random.default_rng(seed)
    item = 4 if dtype == "F32" else 2
    wide = max(1, size // (LAYERS * len(SETTINGS["target_modules"]) * 2 * RANK * item))  # type: ignore[arg-type]
    shapes: dict[str, tuple[str, Any]] = {}
    for layer in range(LAYERS):
        for name in ("self_attn.q_proj", "self_attn.v_proj", "mlp.up_proj"):
            stem = f"base_model.model.model.layers.{layer}.{name}.lora_"
            shapes |= {f"{stem}A.weight": (dtype, (RANK, wide)), f"{stem}B.weight": (dtype, (wide, RANK))}
    exponent = {"F32": 0x3FFFFFFF, "BF16": 0x3FFF, "F16": 0x3BFF}[dtype]
    with path.open("wb") as out:
        out.write(header_bytes(shapes))
        for _, shape in shapes.values():
            count = shape[0] * shape[1]
            bits = np.frombuffer(draw.bytes(count * item), np.uint32 if item == 4 else np.uint16)
            out.write((bits & exponent).tobytes())
    return path


def told(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


if __name__ == "__main__":
    main()
