"""An adapter merged into its base: lftreg's fuse beside PEFT's merge_and_unload, in time and in memory.

The base is a random llama of about 1.1 B parameters in bfloat16, several shards, written by numpy; the adapter has
rank 16 on all seven linear layers. Both begin with the two on the disk and end with a folder that transformers
loads. Each run is a process of its own, start and imports included, and the two take turns. What a run wrote is
removed and what is left of it flushed before the next begins, outside of the clock.

    python benchmarks/fuse.py [--rounds 3] [--vocabulary 32000] [--folder FOLDER] [--json FILE]

`--folder` is where about 5 GB are needed for a while.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HIDDEN, BETWEEN, LAYERS, HEADS, KEY_HEADS = 2048, 8192, 16, 32, 8
RANK = 16
SHAPES = {  # outputs, inputs
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (HIDDEN * KEY_HEADS // HEADS, HIDDEN),
    "self_attn.v_proj": (HIDDEN * KEY_HEADS // HEADS, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (BETWEEN, HIDDEN),
    "mlp.up_proj": (BETWEEN, HIDDEN),
    "mlp.down_proj": (HIDDEN, BETWEEN),
}
RUNS = {
    "lftreg export": """
import sys
from lftreg.cli.main import main
base, adapter, out = sys.argv[1:]
sys.argv = ["lftreg", "export", "bench", "--format", "merged", "--output", out, "-q"]
code = main()
""",
    "PEFT": """
import sys
from peft import PeftModel
from transformers import AutoModelForCausalLM
base, adapter, out = sys.argv[1:]
model = AutoModelForCausalLM.from_pretrained(base, dtype="auto")
PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
code = 0
""",
}
PEAK = """
import resource
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
sys.exit(code)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=asked.folder, prefix="fuse-") as name:
        folder = Path(name)
        size = make_base(folder / "base", asked.vocabulary)
        make_adapter(folder)
        rounds = [one_round(folder) for _ in range(asked.rounds + 1)][1:]  # the first one warms caches
        far = distance(folder)
    names = ("lftreg", "numpy", "torch", "transformers", "peft", "safetensors")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    print(f"# {os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}, {versions}")
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    print(f"# base of {size / 1e9:.2f} GB, rank {RANK}, {asked.rounds} rounds, OMP_NUM_THREADS {threads}")
    print(f"{'':16}{'s':>7}{'min':>7}{'max':>7}{'MB':>8}{'min':>8}{'max':>8}")
    for name in RUNS:
        seconds, peaks = ([r[name][i] for r in rounds] for i in (0, 1))
        line = "".join(f"{f(seconds):7.1f}" for f in (statistics.median, min, max))
        print(f"{name:16}{line}" + "".join(f"{f(peaks):8.0f}" for f in (statistics.median, min, max)))
    ratios = {
        what: [r["PEFT"][i] / r["lftreg export"][i] for r in rounds]
        for i, what in enumerate(("time", "memory"))
    }
    for what, values in ratios.items():
        print(
            f"PEFT / lftreg, {what}: {statistics.median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})"
        )
    print(f"largest difference of a weight, in steps of bfloat16 at its size: {far:.2f}")
    if asked.json:
        asked.json.write_text(json.dumps({"rounds": rounds, "ratios": ratios}, indent=2) + "\n")


def one_round(folder: Path) -> dict[str, tuple[float, float]]:
    """Seconds of wall time and MB of peak memory of each, once. The last results stay to be compared."""
    measured = {}
    for name, code in RUNS.items():
        out = folder / f"out {name}"
        shutil.rmtree(out, ignore_errors=True)
        os.sync()
        words = [sys.executable, "-c", code + PEAK, folder / "base", folder / "adapter", out]
        start = time.perf_counter()
        done = subprocess.run(
            words, env=environment(folder), check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        seconds = time.perf_counter() - start
        measured[name] = (seconds, int(done.stdout.split()[-1]) / 1024)
    return measured


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {"LFTREG_HOME": str(folder / "home"), "HF_HUB_OFFLINE": "1"}


def make_base(folder: Path, vocabulary: int) -> int:
    """Write a random base layer by layer, as a hub would have it. Returns its bytes."""
    import numpy as np

    folder.mkdir()
    draw = np.random.default_rng(0)
    block = draw.normal(0, 0.02, 1 << 22).astype(np.float32).view(np.uint32)
    bits = (block >> 16).astype(np.uint16)
    ends: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (vocabulary, HIDDEN),
        "model.norm.weight": (HIDDEN,),
    }
    shards = [ends | {"lm_head.weight": (vocabulary, HIDDEN)}]
    for first in range(0, LAYERS, 4):
        shard: dict[str, tuple[int, ...]] = {}
        for layer in range(first, first + 4):
            stem = f"model.layers.{layer}."
            shard |= {f"{stem}{name}.weight": shape for name, shape in SHAPES.items()}
            shard |= {f"{stem}{n}.weight": (HIDDEN,) for n in ("input_layernorm", "post_attention_layernorm")}
        shards.append(shard)
    places: dict[str, str] = {}
    total = 0
    for number, shapes in enumerate(shards, 1):
        name = f"model-{number:05}-of-{len(shards):05}.safetensors"
        places |= dict.fromkeys(shapes, name)
        total += write_shard(folder / name, shapes, bits)
    index = {"metadata": {"total_size": total}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    config = {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "bfloat16", "vocab_size": vocabulary,
        "hidden_size": HIDDEN, "intermediate_size": BETWEEN, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": KEY_HEADS, "tie_word_embeddings": False,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    return total


def write_shard(path: Path, shapes: dict[str, tuple[int, ...]], bits: Any) -> int:
    from lftreg.tensors import header_bytes

    total = 0
    with path.open("wb") as file:
        file.write(header_bytes({key: ("BF16", shape) for key, shape in shapes.items()}, {"format": "pt"}))
        for shape in shapes.values():
            left = shape[0] * (shape[1] if len(shape) > 1 else 1)
            total += 2 * left
            while left:
                part = min(left, len(bits))
                file.write(bits[:part].tobytes())
                left -= part
    return total


def make_adapter(folder: Path) -> None:
    """Random factors, registered and as a folder; the base's fingerprint is taken here, as training does."""
    import numpy as np
    from safetensors.numpy import save_file

    from lftreg.models.base import find_base
    from lftreg.paths import Home
    from lftreg.registry import Draft, Registry
    from lftreg.remotes.folder import export_folder

    draw = np.random.default_rng(1)
    factors = {}
    for layer in range(LAYERS):
        for name, (outputs, inputs) in SHAPES.items():
            stem = f"base_model.model.model.layers.{layer}.{name}.lora_"
            factors[f"{stem}A.weight"] = draw.normal(0, 0.02, (RANK, inputs)).astype(np.float32)
            factors[f"{stem}B.weight"] = draw.normal(0, 0.02, (outputs, RANK)).astype(np.float32)
    weights = folder / "factors.safetensors"
    save_file(factors, weights)
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": RANK, "lora_alpha": 2 * RANK,
        "target_modules": [name.rpartition(".")[2] for name in SHAPES],
        "base_model_name_or_path": str(folder / "base"),
    }  # fmt: skip
    with Registry(Home(folder / "home")) as registry:
        base = find_base(str(folder / "base"), registry).record
        version = registry.publish(Draft("bench", "imported", base, weights, config))
        export_folder(registry, version, folder / "adapter")


def distance(folder: Path) -> float:
    """How far the two results are from each other: PEFT rounds twice, so a step or two may be between them."""
    import numpy as np

    from lftreg.tensors import Source

    mine, theirs = (tensors_of(folder / f"out {name}") for name in RUNS)
    if set(mine) != set(theirs):
        raise SystemExit("the two wrote different tensors")
    far = 0.0
    for key in mine:
        with Source(mine[key]) as one, Source(theirs[key]) as other:
            a, b = one.read(key), other.read(key)
        size = np.maximum(np.maximum(np.abs(a), np.abs(b)), 1e-3)
        far = max(far, float((np.abs(a - b) / np.exp2(np.floor(np.log2(size)) - 7)).max()))
    return far


def tensors_of(folder: Path) -> dict[str, Path]:
    from lftreg.tensors import read_header

    return {key: path for path in folder.glob("*.safetensors") for key in read_header(path).tensors}


if __name__ == "__main__":
    main()
