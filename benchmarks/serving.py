"""What serving many adapters costs: beside one merged adapter, beside PEFT, beside padded batches; memory and loading.

    python benchmarks/serving.py [batch] [continuous] [memory] [cold] [gpu] [--rounds 15] [--threads 2] [--json FILE]

Bases are random models of the shapes in serving_inside.py, adapters random factors; s is adapter / base parameters
and K how many different adapters a batch holds. Ways are taken in turns in one process, so that other work on the
machine falls on all of them alike; figures are medians over rounds, with the quarter and three-quarter points. On a
CPU they are of the processor's time of all threads, on a GPU of the clock. The merged adapter is the same engine
without any factors, which is what a base with its adapter merged in costs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lftreg.models.attach import AdapterModel
from lftreg.models.batching import padded as filled
from lftreg.serving.shelf import checked_bytes
from lftreg.serving.voices import Voice
from serving_inside import ROWS, Shop, answered, in_turns, lay, ratios, show, spread


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", nargs="*", default=["batch", "continuous", "memory", "cold"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    told: dict[str, Any] = {"machine": machine(asked.threads)}
    print(told["machine"], flush=True)
    for name in asked.what:
        print(f"== {name}", flush=True)
        told[name] = {"batch": batch, "continuous": continuous, "memory": memory, "cold": cold, "gpu": gpu}[
            name
        ](asked)
        if asked.json:
            asked.json.write_text(json.dumps(told, indent=1))


def machine(threads: int) -> str:
    import peft
    import transformers

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{threads} threads of a CPU"
    names = f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}"
    return f"{device} ({platform.machine()}, {os.cpu_count()} cores), {names}"


def steps_of(shop: Shop, rows: Sequence[Any], at: int = 64) -> Callable[[], Any]:
    """One token more of every row behind `at` tokens, over and over."""
    together = shop.engine.together

    def step() -> Any:
        with torch.inference_mode():
            return together.step(rows, [5] * len(rows), [at] * len(rows))

    return step


def batch(asked: argparse.Namespace) -> Any:
    """Rows of 1, 4 and 16 different adapters in a batch of 16, beside one merged adapter and beside PEFT."""
    told = {}
    for shape in ("33M", "145M"):
        shop = Shop(shape, ROWS)
        parts = lay(shop, ROWS)
        ways = {"merged": steps_of(shop, [()] * ROWS)}
        for count in (1, 4, 16):
            ways[f"K={count}"] = steps_of(shop, [parts[n % count] for n in range(ROWS)])
        ways["sums of 2"] = steps_of(
            shop, [tuple((s, 0.5) for s, _ in parts[n] + parts[(n + 1) % ROWS]) for n in range(ROWS)]
        )
        if shape == "33M":
            ways |= with_peft(shop)
        taken = in_turns(ways, asked.rounds, 4)
        told[shape] = {
            "s": round(shop.share, 4),
            "ms of a step": {name: round(1e3 * statistics.median(t), 2) for name, t in taken.items()},
            "speed of merged": {name: ratios(taken["merged"], t) for name, t in taken.items()},
            "K=16 over": {
                name: ratios(t, taken["K=16"]) for name, t in taken.items() if name.startswith("PEFT")
            },
            "logits of a sum": sum_error(shop) if shape == "33M" else None,
        }
        show(told[shape])
        shop.close()
    return told


def with_peft(shop: Shop) -> dict[str, Callable[[], Any]]:
    """The same step by PEFT: `adapter_names` of a mixed batch, and one adapter after another."""
    from transformers import DynamicCache

    model = AdapterModel(shop.apart)
    for version in shop.versions[:ROWS]:
        model.attach(
            version.name,
            shop.registry.config(version),
            shop.registry.file(version, "adapter_model.safetensors"),
        )
    names = [version.name for version in shop.versions[:ROWS]]
    prompt = torch.full((ROWS, 64), 5)
    whole, single = DynamicCache(), [DynamicCache() for _ in names]
    with torch.inference_mode(), model.using(names[0]) as peft:
        peft(prompt, past_key_values=whole, use_cache=True)
        for cache in single:
            peft(prompt[:1], past_key_values=cache, use_cache=True)

    def mixed() -> Any:
        with torch.inference_mode(), model.using(names[0]) as peft:
            out = peft(prompt[:, :1], past_key_values=whole, use_cache=True, adapter_names=names)
            whole.crop(-1)
            return out

    def switching() -> Any:
        with torch.inference_mode():
            for name, cache in zip(names, single, strict=True):
                with model.using(name) as peft:
                    peft(prompt[:1, :1], past_key_values=cache, use_cache=True)
                cache.crop(-1)

    return {"PEFT adapter_names": mixed, "PEFT switching": switching}


def sum_error(shop: Shop) -> float:
    """The largest difference of logits between sums in a mixed batch and a base with the same sums multiplied in."""
    reference = shop.reference
    worst, ids = 0.0, [(7 * n) % 5000 for n in range(33)]
    together, engine = shop.engine.together, shop.engine
    voices = [shop.voice(n, (n + 3) % ROWS) for n in range(4)] + [shop.voice(n) for n in range(4)]
    leases = [engine.shelf.lend(voice) for voice in voices]
    rows = [lease.parts for lease in leases if lease is not None]
    with torch.inference_mode():
        for place, parts in enumerate(rows):
            together.read(place, parts, ids[:-1], 0)
        logits = together.step(rows, [ids[-1]] * len(rows), [len(ids) - 1] * len(rows))
    for voice, row in zip(voices, logits, strict=True):
        worst = max(worst, float((reference.logits(voice, ids) - row).abs().max()))
    return worst


def continuous(asked: argparse.Namespace) -> Any:
    """32 requests of 4 to 48 new tokens with 16 rows, beside two padded batches of transformers' generate.

    Prompts have 6 to 40 tokens; a padded batch fills them up on the left, as generate wants it.
    """
    shop = Shop("33M", ROWS)
    draw = random.Random(1)
    wanted = [draw.randint(4, 48) for _ in range(32)]
    prompts = [[(11 * n + 3 * k) % 5000 for k in range(draw.randint(6, 40))] for n in range(32)]
    lay(shop, ROWS)

    def by_engine(adapters: bool) -> Any:
        voices = [shop.voice(n % ROWS) if adapters else Voice("base") for n in range(32)]
        answered(shop, voices, prompts, wanted)

    def padded() -> Any:
        for start in (0, 16):
            ids, mask = filled(prompts[start : start + 16], 0, torch.device("cpu"), left=True)
            most = max(wanted[start : start + 16])
            with torch.inference_mode():
                shop.apart.model.generate(
                    ids,
                    attention_mask=mask,
                    max_new_tokens=most,
                    min_new_tokens=most,
                    do_sample=False,
                    pad_token_id=0,
                )

    ways = {
        "padded": padded,
        "continuous": lambda: by_engine(False),
        "continuous, 16 adapters": lambda: by_engine(True),
    }
    taken = in_turns(ways, max(4, asked.rounds // 3), 1)
    told = {
        "tokens a second of processor time": {
            n: round(sum(wanted) / statistics.median(t), 1) for n, t in taken.items()
        },
        "over padded": {name: ratios(taken["padded"], t) for name, t in taken.items()},
    }
    show(told)
    shop.close()
    return told


def memory(asked: argparse.Namespace) -> Any:
    """Requests over 1,000 adapters of the starter with 32 slots, by a Zipf law: what grows beside the pool?"""
    shop = Shop("starter", 1000, rank=8, targets=("q_proj", "v_proj"))
    draw = random.Random(2)
    chances = [1 / (n + 1) for n in range(1000)]
    chosen = draw.choices(range(1000), chances, k=asked.requests)
    before = resident()
    answered(shop, [shop.voice(n) for n in chosen[:64]], [[5] * 12] * 64, [2] * 64)
    warm = resident()
    start = time.perf_counter()
    for at in range(0, len(chosen), 500):
        some = chosen[at : at + 500]
        answered(
            shop, [shop.voice(n) for n in some], [[5] * 12] * len(some), [draw.randint(1, 4) for _ in some]
        )
    told = {
        "requests": len(chosen),
        "different adapters": len(set(chosen)),
        "loads": shop.engine.shelf.loads,
        "evictions": shop.engine.shelf.evictions,
        "pool MB": round(shop.engine.pool.bytes / 1e6, 1),
        "grown MB over before the first request": round((resident() - before) / 1e6, 1),
        "grown MB after the first 64": round((resident() - warm) / 1e6, 1),
        "requests a second": round(len(chosen) / (time.perf_counter() - start), 1),
    }
    show(told)
    shop.close()
    return told


def resident() -> int:
    import gc

    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def cold(asked: argparse.Namespace) -> Any:
    """Bringing an adapter in, beside reading and hashing its file; and what it costs those who are being answered."""
    told: dict[str, Any] = {}
    for count in (1, 1000):
        shop = Shop("starter", 1, rank=16) if count == 1 else Shop("starter", 1000, rank=16)
        version = shop.versions[0]
        loads, hashes = [], []
        for _ in range(40):
            start = time.perf_counter()
            lease = shop.engine.shelf.lend(Voice("-", (shop.registry.get(version.ref),), (1.0,)))
            assert lease is not None
            while not lease.ready:
                time.sleep(0.0001)
            loads.append(time.perf_counter() - start)
            shop.engine.shelf.give_back(lease)
            shop.engine.shelf.drop(version.digest)
            start = time.perf_counter()
            checked_bytes(version, shop.registry)
            hashes.append(time.perf_counter() - start)
        told[f"{count} registered"] = {
            "ms to bring in": spread([1e3 * one for one in loads]),
            "over reading and hashing": ratios(loads, hashes),
        }
        if count == 1000:
            told["between tokens"] = between_tokens(shop)
        shop.close()
    one, many = (told[f"{n} registered"]["ms to bring in"]["median"] for n in (1, 1000))
    told["1000 over 1"] = round(many / one, 3)
    show(told)
    return told


def between_tokens(shop: Shop) -> dict[str, Any]:
    """The 99th percentile of the time between two tokens: all adapters warm, and half of the requests cold."""
    draw, told = random.Random(3), {}
    for name in ("warm", "half cold"):
        gaps: list[float] = []
        for _ in range(6):
            numbers = [
                draw.randrange(16) if name == "warm" or n % 2 else draw.randrange(16, 1000) for n in range(64)
            ]
            came = answered(shop, [shop.voice(n) for n in numbers], [[5] * 16] * 64, [24] * 64)
            gaps += [b - a for times in came for a, b in itertools.pairwise(times)]
        told[name] = 1e3 * statistics.quantiles(gaps, n=100)[98]
    return {
        "p99 ms": {k: round(v, 2) for k, v in told.items()},
        "ratio": round(told["half cold"] / told["warm"], 3),
    }


def gpu(asked: argparse.Namespace) -> Any:
    """64 streams over 16 adapters at the shape of a 1B base in bfloat16, as CUDA graphs."""
    shop = Shop("1B", 16, rows=64, slots=32, longest=1024, dtype="bfloat16")
    parts = lay(shop, 16)
    ways = {"merged": steps_of(shop, [()] * 64, 200)}
    for count in (1, 4, 16):
        ways[f"K={count}"] = steps_of(shop, [parts[n % count] for n in range(64)], 200)
    taken = in_turns(ways, asked.rounds, 20)
    recorded = shop.engine.together.recorded
    shop.engine.together.recorded = None
    plain = in_turns({f"{n}, not recorded": way for n, way in ways.items() if n in ("merged", "K=16")}, 5, 5)
    shop.engine.together.recorded = recorded
    told = {
        "s": round(shop.share, 4),
        "ms of a step": {n: round(1e3 * statistics.median(t), 3) for n, t in (taken | plain).items()},
        "tokens a second": {n: round(64 / statistics.median(t)) for n, t in (taken | plain).items()},
        "speed of merged": {n: ratios(taken["merged"], t) for n, t in taken.items()},
        "adapters that part": parting(shop),
    }
    show(told)
    shop.close()
    return told


def parting(shop: Shop) -> str:
    """Whether recorded steps say what each adapter says by itself: the largest difference of logits, their spread."""
    together, engine = shop.engine.together, shop.engine
    leases = [engine.shelf.lend(shop.voice(n)) for n in range(16)]
    rows = [lease.parts for lease in leases if lease is not None]
    ids = [(7 * n) % 5000 for n in range(40)]
    with torch.inference_mode():
        for place, parts in enumerate(rows):
            together.read(place, parts, ids[:-1], 0)
        here = together.step(rows, [ids[-1]] * 16, [39] * 16).clone()
        there = torch.stack([together.read(20, parts, ids, 0) for parts in rows])
    wrong = (there[:, None] - here[None]).abs().amax(-1)
    nearest = int((wrong.argmin(1) == torch.arange(16, device=wrong.device)).sum())
    worst, usual = float(wrong.diagonal().max()), float(there.std())
    return f"{worst:.3f} of a spread of {usual:.3f}; {nearest} of 16 nearest to themselves"


if __name__ == "__main__":
    main()
