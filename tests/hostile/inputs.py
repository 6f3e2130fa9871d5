"""What strangers may send, one function an input: each spoils a good adapter on the tiny llama in its own way.

The number of an input is kept in its name, so that it can be found in a report and in the test that proves it harmless.
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
STEM = "base_model.model.model.layers.{}.self_attn.{}.lora_{}.weight"
SHAPES = {"q_proj": (32, 32), "v_proj": (16, 32)}  # of the tiny llama
RANK = 4
NORM = "base_model.model.model.norm.modules_to_save.default.weight"
A, B = STEM.format(0, "q_proj", "A"), STEM.format(0, "q_proj", "B")
MOVED = "moved.safetensors"
PAYLOAD = "evil_payload"  # a module that would tell of itself, if anybody imported it
Spoil = Callable[[Path], object]


@dataclass(frozen=True, slots=True)
class Hostile:
    """An input: how a good adapter is spoiled, the code it has to be refused with, and whether --base is given."""

    code: str
    spoil: Spoil
    base: bool = True
    regular: bool = True  # both files are ordinary ones, so that a bundle can hold them


def write_good(folder: Path, base: str, rank: int = RANK, **changes: Any) -> Path:
    """A PEFT adapter of random factors, as PEFT writes it."""
    folder.mkdir(parents=True)
    save_file(factors(rank), folder / WEIGHTS, metadata={"format": "pt"})
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none",
        "target_modules": ["q_proj", "v_proj"], "base_model_name_or_path": base, "lora_dropout": 0.0,
        "init_lora_weights": True, "megatron_core": "megatron.core", "peft_version": "0.21.2", "loftq_config": {},
    }  # fmt: skip
    (folder / CONFIG).write_text(json.dumps(config | changes))
    return folder


def factors(rank: int = RANK) -> dict[str, Any]:
    draw, made = np.random.default_rng(0), {}
    for layer in (0, 1):
        for name, (out, inputs) in SHAPES.items():
            made[STEM.format(layer, name, "A")] = draw.normal(size=(rank, inputs)).astype("f4")
            made[STEM.format(layer, name, "B")] = draw.normal(size=(out, rank)).astype("f4")
    return made


def configured(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def text_of_config(text: str | bytes) -> Spoil:
    raw = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / CONFIG).write_bytes(raw)


def tensors(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        change(held)
        save_file(held, folder / WEIGHTS, metadata={"format": "pt"})

    return spoil


def raw(header: Mapping[str, Any] | bytes, body: bytes = b"", length: int | None = None) -> Spoil:
    def spoil(folder: Path) -> None:
        head = header if isinstance(header, bytes) else json.dumps(header).encode()
        start = struct.pack("<Q", len(head) if length is None else length)
        (folder / WEIGHTS).write_bytes(start + head + body)

    return spoil


def entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


ONE = json.dumps(entry(0, 4, [1]))


def instead(make: Callable[[Path], object]) -> Spoil:
    """Something else under the name of the weights, which lie elsewhere now."""

    def spoil(folder: Path) -> None:
        (folder / WEIGHTS).rename(folder.parent / MOVED)
        make(folder / WEIGHTS)

    return spoil


def _terabyte(path: Path) -> None:
    with path.open("wb") as file:
        head = json.dumps({A: entry(0, 2**40 - 1024, [RANK, 2**36 - 64])}).encode()
        file.write(struct.pack("<Q", len(head)) + head)
        file.truncate(8 + len(head) + 2**40 - 1024)


def _of_twin(folder: Path) -> None:
    configured(base_model_name_or_path=(folder.parent / "twin").read_text())(folder)


def _many() -> bytes:
    rows = (f'"t{n}":{{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}' for n in range(400_000))
    return ("{" + ",".join(rows) + "}").encode()


def _pickled(path: Path) -> None:
    import pickle

    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.system, (f"touch {path.parent.parent / 'executed'}",))

    path.write_bytes(pickle.dumps(Payload()))


def _renamed(layer: int) -> Callable[[dict[str, Any]], None]:
    def change(held: dict[str, Any]) -> None:
        for name in [name for name in held if ".layers.1." in name]:
            held[name.replace(".layers.1.", f".layers.{layer}.")] = held.pop(name)

    return change


def _named(start: str) -> Callable[[dict[str, Any]], None]:
    """All keys with another beginning."""

    def change(held: dict[str, Any]) -> None:
        for name in list(held):
            held[name.replace("base_model.model.model.", start)] = held.pop(name)

    return change


def _transposed(held: dict[str, Any]) -> None:
    """Factors for a weight that a linear layer of the base keeps the other way round."""
    for name in [name for name in held if "v_proj" in name]:
        held[name] = np.zeros((RANK, 16) if "lora_A" in name else (32, RANK), "f4")


def _append(folder: Path) -> None:
    with (folder / WEIGHTS).open("ab") as file:
        file.write(b"more")


def _half(held: dict[str, Any]) -> None:
    for name in list(held)[: len(held) // 2]:
        if name.endswith("lora_B.weight"):
            held.pop(name)


FILES = {
    "01-pickle": Hostile("pickle", instead(lambda p: _pickled(p.with_name("adapter_model.bin"))), regular=False),
    "02-pickle-renamed": Hostile("pickle-renamed", lambda f: _pickled(f / WEIGHTS)),
    "03-both-formats": Hostile("pickle-beside", lambda f: _pickled(f / "adapter_model.bin"), regular=False),
    "04-symlink": Hostile("link", instead(lambda p: p.symlink_to(p.parent.parent / MOVED)), regular=False),
    "05-hardlink": Hostile("hard-link", instead(lambda p: p.hardlink_to(p.parent.parent / MOVED)), regular=False),
    "06-fifo": Hostile("fifo", instead(os.mkfifo), regular=False),
    "07-device": Hostile("device", instead(lambda p: os.mknod(p, 0o20666, os.makedev(1, 5))), regular=False),
    "08-directory": Hostile("folder", instead(Path.mkdir), regular=False),
    "09-empty": Hostile("short-file", lambda f: (f / WEIGHTS).write_bytes(b"")),
    "10-header-length": Hostile("header-size", raw(b"{}", length=2**63)),
    "11-header-longer-than-file": Hostile("header-length", raw(b"{}", length=100)),
    "12-overlap": Hostile("overlap", raw({A: entry(0, 512, [4, 32]), B: entry(256, 768, [32, 4])}, bytes(768))),
    "13-hole": Hostile("hole", raw({A: entry(0, 512, [4, 32]), B: entry(1024, 1536, [32, 4])}, bytes(1536))),
    "14-trailing-bytes": Hostile("trailing-bytes", _append),
    "15-shape-overflow": Hostile("shape-overflow", raw({A: entry(0, 512, [2**62, 4])}, bytes(512))),
    "16-duplicate-key": Hostile(
        "duplicate-tensor", raw(f'{{"{A}":{ONE},"{A}":{ONE}}}'.encode(), bytes(4)),
    ),
    "17-400k-tensors": Hostile("too-many-tensors", lambda f: raw(_many())(f)),
    "18-20MB-metadata": Hostile("metadata-size", lambda f: raw({"__metadata__": {"x": "y" * 20_000_000}})(f)),
    "19-sparse-terabyte": Hostile("sparse-file", lambda f: _terabyte(f / WEIGHTS), regular=False),
    "20-changed-while-hashing": Hostile("changed-meanwhile", lambda f: (f.parent / "touch").touch(), regular=False),
    "21-code": Hostile("code", lambda f: (f / "modeling_lora.py").write_text(f"import {PAYLOAD}"), regular=False),
}  # fmt: skip

TENSORS = {
    "22-nan": Hostile("not-a-number", tensors(lambda t: t[A].__setitem__((0, 0), np.nan))),
    "23-inf": Hostile("infinity", tensors(lambda t: t[B].__setitem__((0, 0), -np.inf))),
    "24-base-key": Hostile("base-key", tensors(lambda t: t.update({"base_model.model.lm_head.weight": t[A]}))),
    "25-base-layer": Hostile(
        "base-layer", tensors(lambda t: t.update({A.replace("lora_A", "base_layer"): np.zeros((32, 32), "f4")})),
    ),
    "26-half-missing": Hostile("half-missing", tensors(_half)),
    "26-half-of-the-layers": Hostile(
        "layers-missing", tensors(lambda t: [t.pop(name) for name in list(t) if ".layers.0." in name])
    ),
    "27-wrong-layer": Hostile("no-such-layer", tensors(_renamed(7))),
    "27-a-name-with-two-dots": Hostile("foreign-tensor", tensors(_named("base_model.model..model."))),
    "27-without-its-prefix": Hostile("no-such-layer", tensors(_named("base_model.model.other."))),
    "28-three-dimensions": Hostile("other-shape", tensors(lambda t: t.update({B: np.zeros((32, 4, 3), "f4")}))),
    "28-ranks-differ": Hostile("rank-mismatch", tensors(lambda t: t.update({B: np.zeros((32, 5), "f4")}))),
    "29-rank-not-the-config's": Hostile("other-rank", configured(r=8)),
    "30-undeclared-modules-to-save": Hostile(
        "base-key", tensors(lambda t: t.update({NORM: np.ones(32, "f4")})),
    ),
    "30-modules-to-save": Hostile("modules-to-save", configured(modules_to_save=["lm_head"])),
    "30-undeclared-module": Hostile("undeclared-module", configured(target_modules=["q_proj"])),
    "31-wrong-base": Hostile("other-base", _of_twin, regular=False),
    "31-transposed": Hostile("other-shape", tensors(_transposed)),
    "31-wrong-shapes": Hostile("other-shape", tensors(lambda t: t.update({A: np.zeros((4, 64), "f4")}))),
}  # fmt: skip

CONFIGS = {
    "32-not-json": Hostile("config-json", text_of_config("{'r': 4")),
    "33-nesting": Hostile("config-depth", text_of_config('{"r":' + "[" * 100_000 + "]" * 100_000 + "}")),
    "34-duplicate-keys": Hostile("config-duplicate", text_of_config('{"r": 4, "r": 5}')),
    "35-nan-literal": Hostile("config-nan", text_of_config('{"peft_type": "LORA", "lora_alpha": NaN}')),
    "36-5000-digits": Hostile("config-number", text_of_config('{"r": ' + "9" * 5000 + "}")),
    "37-byte-order-mark": Hostile("config-utf8", text_of_config(b"\xef\xbb\xbf{}")),
    "37-bad-utf8": Hostile("config-utf8", text_of_config(b'{"r": "\xff"}')),
    "38-peft-type": Hostile("peft-type", configured(peft_type="EVIL")),
    "39-unknown-key": Hostile("unknown-setting", configured(scale_base_by=3.0)),
    "39-the-first-layer-only": Hostile("layers-to-transform", configured(layers_to_transform=0)),
    "40-huge-rank": Hostile("rank", configured(r=50_000_000)),
    "41-alpha-nan": Hostile("alpha", configured(lora_alpha="nan")),
    "41-alpha-huge": Hostile("alpha", configured(lora_alpha=1e30)),
    "42-redos-targets": Hostile("target-pattern", configured(target_modules="(.*a)*(.*a)*(.*a)*$|.*q_proj")),
    "43-redos-rank-pattern": Hostile("rank-pattern", configured(rank_pattern={"(a+)+$": 4})),
    "42-endless-targets": Hostile("targets", configured(target_modules=[f"t{n}" for n in range(50_000)])),
    "42-targets-that-move-a-cursor": Hostile("targets", configured(target_modules=["q_proj", "v_proj", "\x1b[2J"])),
    "43-endless-patterns": Hostile("rank-pattern", configured(rank_pattern={f"t{n}": 4 for n in range(50_000)})),
    "43-a-pattern-without-end": Hostile("rank-pattern", configured(rank_pattern={"a." * 200_000: 4})),
    "43-endless-alphas": Hostile("alpha-pattern", configured(alpha_pattern={f"t{n}": 4 for n in range(50_000)})),
    "44-layer-replication": Hostile("layer-replication", configured(layer_replication=[[0, 4]] * 20_000)),
    "45-auto-mapping": Hostile(
        "auto-mapping", configured(auto_mapping={"base_model_class": "Evil", "parent_library": PAYLOAD})
    ),
    "46-megatron-core": Hostile("megatron-core", configured(megatron_core=PAYLOAD)),
    "46-megatron-config": Hostile("megatron-config", configured(megatron_config={"tensor_parallel": 1})),
    "47-tokenizer-kwargs": Hostile("tokenizer-kwargs", configured(tokenizer_kwargs={"trust_remote_code": True})),
    "48-base-etc": Hostile("base-path", configured(base_model_name_or_path="/etc"), base=False),
    "49-base-upwards": Hostile("base-upwards", configured(base_model_name_or_path="../x"), base=False),
    "50-base-url": Hostile("base-url", configured(base_model_name_or_path="https://h.invalid/m"), base=False),
    "51-pissa": Hostile("changes-base", configured(init_lora_weights="pissa_niter_4")),
    "51-loftq": Hostile("changes-base", configured(init_lora_weights="loftq")),
    "51-loftq-config": Hostile("loftq-config", configured(loftq_config={"loftq_bits": 4})),
    "51-eva": Hostile("changes-base", configured(init_lora_weights="eva")),
}  # fmt: skip

GOOD: dict[str, Spoil] = {
    "plain": lambda f: None,
    "rslora": configured(use_rslora=True),
    "gaussian": configured(init_lora_weights="gaussian"),
    "pattern-of-targets": configured(target_modules=r".*\.layers\.[01]\.self_attn\.(q_proj|v_proj)"),
    "alpha-pattern": configured(alpha_pattern={"q_proj": 3}),
    "half-precision": tensors(lambda t: t.update({k: v.astype("f2") for k, v in t.items()})),
    "no-declared-base": configured(base_model_name_or_path=None),
    "someone's-folder-as-base": configured(base_model_name_or_path="/home/somebody/models/x"),
}
