"""How well the memory of a training step is foretold: estimate against measurement, on a CUDA GPU.

    python benchmarks/memory.py --output memory.json     # the real thing: about 5 minutes on one GPU of 80 GB
    python benchmarks/memory.py --dry-run                # estimates alone, anywhere

Bases are random, in the shapes of well-known models, made on the GPU: nothing is downloaded or read. Each does
three real steps of lftreg's loss under accelerate and AdamW. The target is that in 95 of 100 cases the
estimate is within 15 % of `torch.cuda.max_memory_allocated`.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import platform
import random
import time
import traceback
from dataclasses import asdict, dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

GIB = 1 << 30
STEPS = 3
DEVICE = "cuda"
TARGET = 0.15
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
ATTENTION = LINEAR[:4]


def _shape(kind: str, **sizes: Any) -> dict[str, Any]:
    return {"model_type": kind, "tie_word_embeddings": False, "max_position_embeddings": 8192, **sizes}


BASES: dict[str, dict[str, Any]] = {
    "llama-1b": _shape(
        "llama", vocab_size=128256, hidden_size=2048, intermediate_size=8192, num_hidden_layers=16,
        num_attention_heads=32, num_key_value_heads=8, head_dim=64, tie_word_embeddings=True,
    ),
    "llama-3b": _shape(
        "llama", vocab_size=128256, hidden_size=3072, intermediate_size=8192, num_hidden_layers=28,
        num_attention_heads=24, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    ),
    "llama-8b": _shape(
        "llama", vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32,
        num_attention_heads=32, num_key_value_heads=8,
    ),
    "gpt2": {"model_type": "gpt2"},
    "gpt2-large": {"model_type": "gpt2", "n_embd": 1280, "n_layer": 36, "n_head": 20},
    "qwen3-1.7b": _shape(
        "qwen3", vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_hidden_layers=28,
        num_attention_heads=16, num_key_value_heads=8, head_dim=128, tie_word_embeddings=True,
    ),
    "qwen2.5-7b": _shape(
        "qwen2", vocab_size=152064, hidden_size=3584, intermediate_size=18944, num_hidden_layers=28,
        num_attention_heads=28, num_key_value_heads=4,
    ),
}  # fmt: skip
GPT2 = ("c_attn", "c_proj", "c_fc")


@dataclass(frozen=True, slots=True)
class Case:
    """`batch` lines of `length` tokens; packed lines hold four rows each."""

    base: str
    dtype: str
    rank: int
    batch: int
    length: int
    targets: tuple[str, ...] = LINEAR
    checkpointing: bool = False
    packed: bool = False
    dropout: float = 0.0

    @property
    def name(self) -> str:
        marks = [
            self.base, "bf16" if self.dtype == "bfloat16" else "fp32", f"r{self.rank}",
            f"{self.batch}x{self.length}", "attention" if self.targets == ATTENTION else "all",
        ]  # fmt: skip
        marks += ["checkpointed"] * self.checkpointing + ["packed"] * self.packed
        marks += [f"dropout {self.dropout}"] * (self.dropout > 0)
        return " ".join(marks)


B, F = "bfloat16", "float32"
CASES = (
    Case("llama-1b", B, 16, 1, 512),
    Case("llama-1b", B, 16, 8, 512),
    Case("llama-1b", B, 64, 4, 1024, ATTENTION),
    Case("llama-1b", B, 16, 16, 1024, checkpointing=True),
    Case("llama-1b", B, 16, 2, 4096, packed=True),
    Case("llama-1b", B, 16, 4, 1024, dropout=0.05),
    Case("llama-1b", F, 16, 4, 512),
    Case("llama-1b", F, 8, 4, 1024, checkpointing=True),
    Case("llama-3b", B, 8, 4, 1024),
    Case("llama-3b", B, 64, 2, 4096, checkpointing=True),
    Case("llama-8b", B, 16, 1, 1024),
    Case("llama-8b", B, 64, 4, 1024, ATTENTION),
    Case("llama-8b", B, 16, 8, 1024, checkpointing=True),
    Case("llama-8b", B, 8, 2, 4096, checkpointing=True, packed=True),
    Case("gpt2", F, 8, 16, 1024, GPT2),
    Case("gpt2", B, 16, 8, 512, GPT2),
    Case("gpt2-large", B, 64, 4, 1024, GPT2),
    Case("qwen3-1.7b", B, 16, 4, 1024),
    Case("qwen2.5-7b", B, 16, 1, 512),
    Case("qwen2.5-7b", B, 8, 16, 1024, checkpointing=True),
)


def worst(case: Case) -> tuple[Any, list[Any]]:
    """An objective and its rows: as training lays them out, every token but the first learned."""
    from lftreg.objectives.causal import Causal
    from lftreg.objectives.rows import IGNORED, Row

    dice = random.Random(0)
    size, count = (case.length // 4, 4 * case.batch) if case.packed else (case.length, case.batch)
    chat: Any = SimpleNamespace(pad_id=0)
    objective = Causal(chat, room=case.length if case.packed else None)
    lines = [[dice.randrange(10, 50000) for _ in range(size)] for _ in range(count)]
    return objective, [Row(tuple(ids), (IGNORED, *ids[1:])) for ids in lines]


def foretell(case: Case) -> Any:
    from lftreg.budget.memory import Recipe, estimate

    objective, rows = worst(case)
    recipe = Recipe(
        config=BASES[case.base],
        targets=case.targets,
        rank=case.rank,
        dtype=case.dtype,
        gradient_checkpointing=case.checkpointing,
        dropout=case.dropout,
    )
    return estimate(recipe, lambda model: objective.loss_sum(model, rows))


def foretold_seconds(case: Case) -> float:
    """Seconds of a step on this machine, by counting."""
    from lftreg.budget import devices
    from lftreg.budget import time as clock
    from lftreg.models.targets import list_modules

    base = BASES[case.base]
    work = clock.work_of(list_modules(base), base, case.targets, case.rank)
    length = case.length / 4 if case.packed else case.length
    return clock.estimate(
        work,
        devices.find(),
        tokens=case.batch * case.length,
        length=length,
        batches=1,
        dtype=case.dtype,
        gradient_checkpointing=case.checkpointing,
    ).seconds


def measure(case: Case) -> dict[str, float]:
    """Three real steps; bytes that torch had allocated and reserved at most, and seconds of the last."""
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    half = case.dtype == B
    AcceleratorState._reset_state(reset_partial_state=True)  # else the first precision stays for good
    accelerator = Accelerator(mixed_precision="bf16" if half else "no")
    objective, rows = worst(case)
    model = real_model(case)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-4, weight_decay=0.0)
    model, optimizer = accelerator.prepare(model, optimizer)
    model.train()
    torch.cuda.synchronize()
    torch.cuda.reset_peak_memory_stats()
    learned = sum(row.learned for row in rows)
    seconds = math.nan
    for _ in range(STEPS):
        started = time.perf_counter()
        # The loss calls the decoder itself, past the forward that accelerate wraps.
        with accelerator.autocast():
            loss = objective.loss_sum(model, rows) / learned
        accelerator.backward(loss)
        if not math.isfinite(loss.item()):
            raise RuntimeError(f"the loss is {loss.item()}")
        accelerator.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        seconds = time.perf_counter() - started
    return {
        "measured": torch.cuda.max_memory_allocated(),
        "reserved": torch.cuda.max_memory_reserved(),
        "resting": torch.cuda.memory_allocated(),
        "seconds_a_step": seconds,
    }


def real_model(case: Case) -> Any:
    """The base with random weights, made on the GPU, and a fresh adapter."""
    import torch
    import transformers

    from lftreg.models.fresh import add_adapter
    from lftreg.models.tasks import CAUSAL

    settings = {k: v for k, v in BASES[case.base].items() if k != "model_type"}
    config = transformers.AutoConfig.for_model(
        BASES[case.base]["model_type"], **settings, dtype=getattr(torch, case.dtype)
    )
    torch.manual_seed(0)
    with torch.device(DEVICE):
        base = transformers.AutoModelForCausalLM.from_config(config)
    base.requires_grad_(False)
    return add_adapter(
        base,
        CAUSAL,
        case.targets,
        rank=case.rank,
        alpha=2.0 * case.rank,
        dropout=case.dropout,
        gradient_checkpointing=case.checkpointing,
    )


def tidy() -> None:
    """Nothing of one case may be left for the next."""
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        clear = getattr(torch._C, "_cuda_clearCublasWorkspaces", None)
        if clear is not None:
            clear()
        torch.cuda.empty_cache()


def run(case: Case, dry: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"case": case.name, **asdict(case)}
    try:
        started = time.perf_counter()
        memory = foretell(case)
        found |= {
            "estimate": memory.peak,
            "parts": asdict(memory),
            "foretold_in": time.perf_counter() - started,
        }
        if not dry:
            found |= measure(case)
            found["ratio"] = found["estimate"] / found["measured"]
            found["seconds_foretold"] = foretold_seconds(case)
    except Exception as error:  # noqa: BLE001 one failing case must not stop the others
        found["error"] = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        found["traceback"] = traceback.format_exc()[-4000:]
    return found


COLUMNS = ("estimate", "measured", "reserved", "ratio", "took", "foretold", "a step")


def show(found: dict[str, Any]) -> None:
    """A line: GiB of memory, their ratio, seconds of the estimate, of a step as foretold and as it took."""

    def cell(key: str, digits: int, unit: float = 1) -> str:
        return f"{found[key] / unit:9.{digits}f}" if key in found else f"{'-':>9}"

    sizes = [cell(key, 2, GIB) for key in ("estimate", "measured", "reserved")]
    rest = [cell("ratio", 3), cell("foretold_in", 1), cell("seconds_foretold", 3), cell("seconds_a_step", 3)]
    print(f"{found['case']:48} {' '.join(sizes + rest)}", flush=True)
    if "error" in found:
        print(f"    {found['error']}", flush=True)


def versions() -> dict[str, str]:
    import accelerate
    import peft
    import torch
    import transformers

    libraries = (torch, transformers, peft, accelerate)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    return {"device": device} | {library.__name__: library.__version__ for library in libraries}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--dry-run", action="store_true", help="estimates alone; no GPU is needed")
    parser.add_argument("--output", type=Path, help="a file for the results, as JSON")
    parser.add_argument("--only", default="", help="only cases whose name holds this text")
    options = parser.parse_args()
    about = versions()
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    print(f"{'case':48} {' '.join(f'{name:>9}' for name in COLUMNS)}")
    results = []
    for case in CASES:
        if options.only not in case.name:
            continue
        results.append(run(case, options.dry_run))
        tidy()
        show(results[-1])
        if options.output:  # after every case: whatever stops the rest, these are kept
            report = {"about": about, "target": TARGET, "cases": results, "p95": p95(results)}
            options.output.write_text(json.dumps(report, indent=1))
    off = p95(results)
    failed = sum("error" in found for found in results)
    print(
        f"{len(results)} cases, {failed} failed" + ("" if off is None else f"; p95 of |ratio - 1|: {off:.1%}")
    )


def p95(results: list[dict[str, Any]]) -> float | None:
    """The error that 95 of 100 cases stay within (nearest rank); None where nothing was measured."""
    errors = sorted(abs(found["ratio"] - 1) for found in results if "ratio" in found)
    return errors[math.ceil(0.95 * len(errors)) - 1] if errors else None


if __name__ == "__main__":
    main()
