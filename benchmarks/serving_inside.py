"""What benchmarks/serving.py asks and how it counts: a base of some shape with adapters and an engine, and time."""

from __future__ import annotations

import json
import random
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from lftreg import Registry, Version
from lftreg.models.base import find_base
from lftreg.models.layers import seats_of
from lftreg.models.load import Loaded, load_base
from lftreg.paths import Home, starter_folder
from lftreg.serving.engine import Engine
from lftreg.serving.passes import same_weights
from lftreg.serving.sampling import Sampling
from lftreg.serving.selftest import reference_of
from lftreg.serving.tickets import Asked, Said
from lftreg.serving.voices import Voice

ROWS = 16
SHAPES = {  # hidden, layers, heads, key-value heads, MLP, tied embeddings, rank of adapters
    "33M": (512, 8, 8, 4, 1536, False, 16),
    "145M": (1024, 10, 16, 16, 2816, False, 8),
    "1B": (2048, 16, 32, 8, 8192, True, 16),
}


class Shop:
    """A base of some shape, adapters on it, and an engine."""

    def __init__(
        self,
        shape: str,
        adapters: int,
        *,
        rows: int = ROWS,
        slots: int = 32,
        longest: int = 512,
        rank: int | None = None,
        targets: Sequence[str] | None = None,
        dtype: str = "auto",
    ) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.registry = Registry(Home(Path(self.folder.name) / "home"))
        source = starter_folder() if shape == "starter" else save_base(shape, Path(self.folder.name) / "base")
        self.loaded = load_base(find_base(str(source), self.registry), dtype)
        self.apart: Loaded = Loaded(
            self.loaded.base, same_weights(self.loaded.model), self.loaded.tokenizer, self.loaded.task
        )
        self.reference = reference_of(self.loaded, self.registry)
        self.rank = rank or (8 if shape == "starter" else SHAPES[shape][6])
        self.versions = [self._adapter(n, targets) for n in range(adapters)]
        self.engine = Engine(
            self.loaded, self.registry, rows=rows, slots=slots, rank=self.rank, longest=longest, queue=20_000
        )
        self.share = self.versions[0].trainable_parameters / self.loaded.base.record.parameters

    def _adapter(self, seed: int, targets: Sequence[str] | None) -> Version:
        from safetensors.torch import save_file

        from lftreg.registry import Draft

        draw, tensors = torch.Generator().manual_seed(seed), {}
        names = set()
        for path, seat in seats_of(self.loaded.model).items():
            last = path.rsplit(".", 1)[-1]
            if last == "lm_head" or (targets and last not in targets):
                continue
            names.add(last)
            stem = f"base_model.model.{path}.lora_"
            a = torch.randn(self.rank, seat.inputs, generator=draw) * seat.inputs**-0.5
            b = torch.randn(seat.outputs, self.rank, generator=draw) * 0.5 * seat.inputs**-0.5
            tensors[f"{stem}A.weight"], tensors[f"{stem}B.weight"] = a, b
        file = Path(self.folder.name) / "adapter.safetensors"
        save_file(tensors, file)
        config = {
            "peft_type": "LORA",
            "r": self.rank,
            "lora_alpha": self.rank,
            "target_modules": sorted(names),
        }
        return self.registry.publish(Draft(f"a{seed}", "imported", self.loaded.base.record, file, config))

    def voice(self, *numbers: int) -> Voice:
        weights = (1.0,) if len(numbers) == 1 else tuple(1.0 / len(numbers) for _ in numbers)
        return Voice("-", tuple(self.versions[n] for n in numbers), weights)

    def close(self) -> None:
        self.engine.close()
        self.folder.cleanup()


def save_base(shape: str, folder: Path) -> Path:
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    hidden, layers, heads, kv, mlp, tied, _ = SHAPES[shape]
    tokenizer = AutoTokenizer.from_pretrained(starter_folder())
    config = LlamaConfig(
        vocab_size=32_000 if shape == "1B" else len(tokenizer),
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv,
        intermediate_size=mlp,
        tie_word_embeddings=tied,
        max_position_embeddings=2048,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def clock() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def in_turns(ways: dict[str, Callable[[], Any]], rounds: int, steps: int = 8) -> dict[str, list[float]]:
    """Seconds a step of each way, round by round, in an order that changes."""
    names, draw = list(ways), random.Random(0)
    for name in names:
        ways[name](), ways[name]()
    taken: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(rounds):
        draw.shuffle(names)
        for name in names:
            start = clock()
            for _ in range(steps):
                ways[name]()
            taken[name].append((clock() - start) / steps)
    return taken


def spread(values: Sequence[float]) -> dict[str, float]:
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": round(middle, 4), "low": round(low, 4), "high": round(high, 4)}


def ratios(over: Sequence[float], under: Sequence[float]) -> dict[str, float]:
    return spread([a / b for a, b in zip(over, under, strict=True)])


def lay(shop: Shop, count: int) -> list[Any]:
    """Bring adapters into slots, and return what each row of a voice uses."""
    leases = []
    for n in range(count):
        lease = shop.engine.shelf.lend(shop.voice(n))
        assert lease is not None
        while not lease.ready:
            time.sleep(0.001)
        assert lease.error is None, lease.error
        leases.append(lease)
    return [lease.parts for lease in leases]


def answered(
    shop: Shop, voices: Sequence[Voice], prompts: Sequence[Sequence[int]], wanted: Sequence[int]
) -> list[list[float]]:
    """Ask everything at once and wait. Returns when each token of each answer came."""
    left, lock, done = [len(voices)], threading.Lock(), threading.Event()
    came: list[list[float]] = [[] for _ in voices]

    def listener(n: int) -> Callable[[Any], None]:
        def listen(event: Any) -> None:
            if isinstance(event, Said):
                came[n].append(time.perf_counter())
                return
            with lock:
                left[0] -= 1
                if not left[0]:
                    done.set()

        return listen

    for n, (voice, ids, more) in enumerate(zip(voices, prompts, wanted, strict=True)):
        # Every round reads its prompts anew: the first id is another one each time.
        fresh = [random.randrange(5000), *ids]
        shop.engine.submit(Asked(voice, fresh, Sampling(more, ignore_eos=True)), listener(n))
    done.wait()
    return came


def show(told: Any) -> None:
    print(json.dumps(told, indent=1), flush=True)
