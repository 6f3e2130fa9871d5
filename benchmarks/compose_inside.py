"""What benchmarks/compose.py measures in processes of their own. Each part prints one line of JSON."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any


def peak_mib() -> float:
    """Of this process alone: getrusage would count what its parent held when it was started."""
    text = Path("/proc/self/status").read_text()
    return int(text.split("VmHWM:")[1].split()[0]) / 1024


def bare() -> float:
    """An interpreter that has done nothing."""
    return peak_mib()


def peak(home: str, method: str, adapters: str, rank: str) -> float:
    """A whole composition by factors."""
    from lftreg import Registry, compose
    from lftreg.paths import Home

    compose(
        _words(int(adapters)), registry=Registry(Home(Path(home))), engine="factors", method=method, name="peak",
        rank=int(rank) or None,
    )  # fmt: skip
    return peak_mib()


def hashing(home: str) -> float:
    """Seconds that the two hashes alone take side by side: what nobody can go below on two processors."""
    import hashlib
    from threading import Thread

    content = bytes(305 << 20)
    threads = [Thread(target=lambda: hashlib.sha256(content).digest()) for _ in range(2)]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return time.perf_counter() - started


def beside(home: str, method: str, adapters: str, rank: str, mode: str) -> list[tuple[float, float]]:
    """Seconds of a raw copy of the parents and of the engine, in turns. Both write a new file, neither syncs it.

    `mode`: `kernel` computes and writes; `hashed` verifies the input and hashes the output too; `measured`
    also measures every layer.
    """
    from lftreg.composer.composition import prepare
    from lftreg.paths import Home
    from lftreg.plugins.host import Host
    from lftreg.registry import Registry

    registry = Registry(Home(Path(home)))
    options = {"rank": int(rank)} if int(rank) else {}
    plan = prepare(
        _words(int(adapters)), weights=None, name="x", method=method, normalise=False, dtype="auto",
        engine="factors", registry=registry, host=Host(external=False), options=options,
    )  # fmt: skip
    target = Path(home) / "out"

    def copied() -> float:
        target.unlink(missing_ok=True)
        started = time.perf_counter()
        with target.open("wb") as out:
            for parent in plan.parents:
                with parent.file.open("rb") as file:
                    while piece := file.read(1 << 20):
                        out.write(piece)
        return time.perf_counter() - started

    _engine(plan, registry, target, mode), copied()
    found = [(copied(), _engine(plan, registry, target, mode)) for _ in range(7)]
    target.unlink()
    return found


def _engine(plan: Any, registry: Any, target: Path, mode: str) -> float:
    from lftreg.composer import factors_engine as engine
    from lftreg.composer.kitchen import Kitchen, keep_freed_memory, one_blas_thread
    from lftreg.composer.listening import silent
    from lftreg.composer.parents import check_whole
    from lftreg.registry.staging import Stream

    target.unlink(missing_ok=True)
    started = time.perf_counter()
    with ExitStack() as stack, target.open("wb") as out:
        keep_freed_memory()
        stack.enter_context(one_blas_thread())
        opened = Kitchen(plan, stack)
        rank = engine._rank(opened, silent)
        if mode == "kernel":
            out.write(engine._header(plan, rank))
            engine._write(opened, rank, lambda piece: out.write(memoryview(piece).cast("B")), silent, False)
            return time.perf_counter() - started
        with ThreadPoolExecutor(1) as checker:
            checked = [checker.submit(check_whole, parent, registry) for parent in plan.parents]
            stream = Stream(out, None)  # type: ignore[arg-type]  # never kept
            stream.write(engine._header(plan, rank))
            engine._write(opened, rank, stream.write, silent, mode == "measured")
            stream.finished()
            for one in checked:
                one.result()
    return time.perf_counter() - started


def layer(size: str) -> tuple[float, float, float, float]:
    """svd of one layer: seconds by PEFT's defaults, seconds by factors, the true error, the error foretold."""
    import numpy as np
    import torch
    from peft import LoraConfig, get_peft_model

    from lftreg.composer.kitchen import one_blas_thread
    from lftreg.composer.layers import Pair
    from lftreg.composer.lowrank import cut

    torch.manual_seed(0)
    net = torch.nn.Sequential()
    net.add_module("proj", torch.nn.Linear(int(size), int(size), bias=False))
    config = LoraConfig(r=16, lora_alpha=32, target_modules=["proj"], init_lora_weights=False)
    model = get_peft_model(net, config, adapter_name="a")
    model.add_adapter("b", config)
    started = time.perf_counter()
    model.add_weighted_adapter(["a", "b"], [0.7, 0.3], "c", combination_type="svd", svd_rank=16)
    peft = time.perf_counter() - started

    proj = model.base_model.model.proj
    b = np.hstack([proj.lora_B[name].weight.detach().numpy() for name in "ab"])
    a = np.vstack([proj.lora_A[name].weight.detach().numpy() for name in "ab"])
    c = np.repeat([0.7 * 2, 0.3 * 2], 16)
    ours = []
    with one_blas_thread():
        for _ in range(20):
            started = time.perf_counter()
            made, spectrum = cut(Pair(b, a, c), 16, "proj")
            ours.append(time.perf_counter() - started)
    whole = b.astype(float) @ (c[:, None] * a)
    true = float(np.linalg.norm(made.b.astype(float) @ made.a - whole) / np.linalg.norm(whole))
    return peft, sorted(ours)[len(ours) // 2], true, (spectrum.lost(16) / spectrum.energy) ** 0.5


def _words(adapters: int) -> list[str]:
    return [f"x{n}:{0.7 - 0.4 * (n % 2):g}" for n in range(adapters)]


PARTS: dict[str, Callable[..., Any]] = {
    "bare": bare,
    "peak": peak,
    "hashing": hashing,
    "beside": beside,
    "layer": layer,
}

if __name__ == "__main__":
    print(json.dumps(PARTS[sys.argv[1]](*sys.argv[2:])))
