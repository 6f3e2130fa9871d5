"""The machines that train: how fast they are, how much they hold, what an hour costs."""

from __future__ import annotations

import os
import re
import time
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import Any

from lftreg.config import user_file
from lftreg.errors import InvalidData, StorageError, unknown

TABLE = "devices.toml"
GIB = 1 << 30
CPU = "cpu"
# The share of what a large product reaches that a training step does, on a CPU. Measured on one core with the starter:
# 0.65 to 0.78 for 8 x 32 to 4 x 512 tokens.
CPU_UTILISATION = 0.7
SIDE = 1024  # rows and columns of the product that measures a CPU
READ = 128 << 20  # bytes that are read to measure a CPU's memory: more than most caches hold
_FIELDS = {"name", "match", "memory", "bfloat16", "float32", "bandwidth", "utilisation", "price", "seen"}


@dataclass(frozen=True, slots=True)
class Device:
    """A machine. `memory` in bytes; `bfloat16` and `float32` in FLOP/s; `price` in US dollars an hour, or None.

    `bandwidth` is in bytes/s that its memory is read at, None where nobody told; of `cpu` see `memory_bandwidth`.
    `utilisation` is the share of `bfloat16` that training reaches; `seen` says where the price was read, and when.
    """

    name: str
    memory: int | None
    bfloat16: float
    float32: float
    utilisation: float
    price: float | None = None
    seen: str | None = None
    bandwidth: float | None = None

    @property
    def gpu(self) -> bool:
        return self.name != CPU


def find(name: str | None = None, tables: tuple[Path, ...] | None = None) -> Device:
    """The device of this name, or this machine's own where none is named.

    A name is looked for in the user's `devices.toml` first, then in ours; `cpu` is this machine's, measured. Of this
    machine's own GPU the memory is asked. Raises NotFound (`unknown-device`) for a GPU in neither table,
    InvalidData for a table that is none.
    """
    entries = [entry for table in tables or _tables() for entry in _read(table)]
    if name is None:
        import torch

        if not torch.cuda.is_available():
            return _cpu()
        own = _match(entries, torch.cuda.get_device_name())
        return replace(own, memory=int(torch.cuda.get_device_properties(0).total_memory))
    return _cpu() if name.lower() == CPU else _match(entries, name)


def known(tables: tuple[Path, ...] | None = None) -> list[Device]:
    """Every device of the tables, the user's first."""
    return [_device(entry) for table in tables or _tables() for entry in _read(table)]


def _tables() -> tuple[Path, ...]:
    own = user_file().with_name(TABLE)
    ours = Path(str(files("lftreg.budget") / TABLE))
    return (own, ours) if own.is_file() else (ours,)


def _read(table: Path) -> list[dict[str, Any]]:
    hint = f"see {TABLE} of lftreg.budget for what an entry holds"
    try:
        entries = tomllib.loads(table.read_text(encoding="utf-8")).get("device", [])
    except ValueError as error:
        raise InvalidData(f"{table} is not TOML: {error}", hint) from error
    except OSError as error:
        raise StorageError(f"{table} cannot be read: {error.strerror}", "check its permissions") from error
    for entry in entries if isinstance(entries, list) else [None]:
        if (flaw := _flaw(entry)) is not None:
            raise InvalidData(f"{table}: {flaw}", hint, code="invalid-device")
    return list(entries)


def _flaw(entry: Any) -> str | None:
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        return "a [[device]] needs a name"
    name = entry["name"]
    if stray := sorted(set(entry) - _FIELDS):
        return f"{name} has an unknown key {stray[0]!r}"
    optional = [key for key in ("bandwidth",) if key in entry]
    for key in ("memory", "bfloat16", "float32", "utilisation", *optional):
        value = entry.get(key)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e6:
            return f"{name} needs a positive number as {key}"
    price = entry.get("price", 0)
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 <= price < 1e6:
        return f"the price of {name} is no number of dollars"
    match = entry.get("match", [])
    if not isinstance(match, list) or not all(isinstance(part, str) for part in match):
        return f"{name} needs a list of texts as match"
    return None


def _match(entries: list[dict[str, Any]], name: str) -> Device:
    found = [
        entry
        for entry in entries
        if any(_holds(name, part) for part in [entry["name"], *entry.get("match", [])])
    ]
    if found:  # a user's entry may leave the bandwidth to ours
        read = next((entry["bandwidth"] for entry in found if "bandwidth" in entry), None)
        return _device(found[0] if read is None else {**found[0], "bandwidth": read})
    names = list(dict.fromkeys(entry["name"] for entry in entries))
    raise unknown(
        "device", name, [*names, CPU], f"known: {', '.join([*names, CPU])}; add yours to {user_file().with_name(TABLE)}"
    )  # fmt: skip


def _holds(name: str, part: str) -> bool:
    """Whether a part is in a name as whole words: the L4 is no L40S, and an A100 no A10."""
    words = re.escape(part).replace(r"\ ", r"[\s_-]+").replace(r"\-", r"[\s_-]+")
    return re.search(rf"(?<![a-z0-9]){words}(?![a-z0-9])", name, re.IGNORECASE) is not None


def _device(entry: Mapping[str, Any]) -> Device:
    return Device(
        name=entry["name"],
        memory=int(entry["memory"] * GIB),
        bfloat16=entry["bfloat16"] * 1e12,
        float32=entry["float32"] * 1e12,
        utilisation=entry["utilisation"],
        price=entry.get("price"),
        seen=entry.get("seen"),
        bandwidth=entry["bandwidth"] * 1e9 if "bandwidth" in entry else None,
    )


def _cpu() -> Device:
    """This machine's processors, by a product of SIDE x SIDE matrices: the best of a few, under 0.2 s."""
    import torch

    a = torch.ones(SIDE, SIDE)
    best = float("inf")
    started = time.perf_counter()
    while time.perf_counter() - started < 0.15 or best == float("inf"):
        before = time.perf_counter()
        torch.mm(a, a)
        best = min(best, time.perf_counter() - before)
    rate = 2 * SIDE**3 / best
    return Device(CPU, installed_memory(), bfloat16=rate, float32=rate, utilisation=CPU_UTILISATION)


def memory_bandwidth() -> float:
    """Bytes/s at which this machine's processors read: a matrix by a vector, the best of a few, under 0.3 s."""
    import numpy as np

    matrix, vector = np.ones((READ // (4 * SIDE), SIDE), np.float32), np.ones(SIDE, np.float32)
    best = float("inf")
    for _ in range(4):
        before = time.perf_counter()
        matrix @ vector
        best = min(best, time.perf_counter() - before)
    return READ / best


def installed_memory() -> int | None:
    """Bytes of this machine's memory; None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
