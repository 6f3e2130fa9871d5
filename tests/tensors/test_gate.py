"""What a stranger's adapter may not be. Every refusal has its own code, and leaves no trace."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from lftreg.errors import InvalidData, LftregError
from lftreg.registry import CONFIG, WEIGHTS, Base, Registry
from lftreg.remotes.folder import export_folder, import_folder
from lftreg.tensors.shapes import Shapes

BASE = Base("f" * 64, "starter", "llama", 15_000_000)
MODULE = "base_model.model.model.layers.0.self_attn.q_proj"
Spoil = Callable[[Path], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A good adapter of PEFT's, which a test may spoil."""
    folder = tmp_path / "adapter"
    folder.mkdir()
    random = np.random.default_rng(0)
    a, b = random.normal(size=(4, 8)), random.normal(size=(8, 4))
    save_file(
        {f"{MODULE}.lora_A.weight": a.astype("f4"), f"{MODULE}.lora_B.weight": b.astype("f4")},
        folder / WEIGHTS,
    )
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def taken(registry: Registry, folder: Path) -> Any:
    return import_folder(registry, folder, name="stranger", base=BASE)


def configured(**changes: Any) -> Spoil:
    def spoil(folder: Path) -> None:
        path = folder / CONFIG
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return spoil


def config_text(text: str | bytes) -> Spoil:
    raw = text.encode() if isinstance(text, str) else text
    return lambda folder: (folder / CONFIG).write_bytes(raw)


def tensors(change: Callable[[dict[str, Any]], object]) -> Spoil:
    def spoil(folder: Path) -> None:
        held = load_file(folder / WEIGHTS)
        change(held)
        save_file(held, folder / WEIGHTS)

    return spoil


def raw_weights(header: dict[str, Any] | bytes, body: bytes = b"", length: int | None = None) -> Spoil:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    content = struct.pack("<Q", len(head) if length is None else length) + head + body
    return lambda folder: (folder / WEIGHTS).write_bytes(content)


def replaced(name: str, make: Spoil) -> Spoil:
    def spoil(folder: Path) -> None:
        (folder / name).rename(folder.parent / "moved")
        make(folder)

    return spoil


def entry(start: int, stop: int, shape: list[int], dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


A, B = f"{MODULE}.lora_A.weight", f"{MODULE}.lora_B.weight"
REFUSED: dict[str, tuple[Spoil, str]] = {
    "pickle beside": (lambda f: (f / "adapter_model.bin").write_bytes(b"\x80\x04."), "pickle-beside"),
    "pickle renamed": (lambda f: (f / WEIGHTS).write_bytes(b"\x80\x04cos\nsystem\n."), "pickle-renamed"),
    "link": (replaced(WEIGHTS, lambda f: (f / WEIGHTS).symlink_to(f.parent / "moved")), "link"),
    "fifo": (replaced(WEIGHTS, lambda f: os.mkfifo(f / WEIGHTS)), "fifo"),
    "folder": (replaced(WEIGHTS, lambda f: (f / WEIGHTS).mkdir()), "folder"),
    "device": (replaced(WEIGHTS, lambda f: (f / WEIGHTS).symlink_to("/dev/zero")), "link"),
    "nothing": (lambda f: (f / WEIGHTS).unlink(), "no-adapter"),
    "empty": (lambda f: (f / WEIGHTS).write_bytes(b""), "short-file"),
    "huge header": (raw_weights(b"{}", length=2**63), "header-size"),
    "header past the end": (raw_weights(b"{}", length=100), "header-length"),
    "header not JSON": (raw_weights(b"{oops"), "header-json"),
    "overlap": (raw_weights({A: entry(0, 128, [4, 8]), B: entry(64, 192, [8, 4])}, b"\0" * 192), "overlap"),
    "hole": (raw_weights({A: entry(0, 128, [4, 8]), B: entry(192, 320, [8, 4])}, b"\0" * 320), "hole"),
    "trailing bytes": (raw_weights({A: entry(0, 128, [4, 8])}, b"\0" * 129), "trailing-bytes"),
    "shape overflow": (raw_weights({A: entry(0, 128, [2**50, 2**50])}, b"\0" * 128), "shape-overflow"),
    "negative shape": (raw_weights({A: entry(0, 128, [-4, -8])}, b"\0" * 128), "tensor"),
    "a name twice": (raw_weights(b'{"a":{},"a":{}}'), "duplicate-tensor"),
    "code": (lambda f: (f / "modeling.py").write_text("import os"), "code"),
    "NaN": (tensors(lambda t: t[A].__setitem__((0, 0), np.nan)), "not-a-number"),
    "infinity": (tensors(lambda t: t[B].__setitem__((0, 0), np.inf)), "infinity"),
    "a base's weight": (
        tensors(lambda t: t.update({"base_model.model.lm_head.weight": t[A]})),
        "base-key",
    ),
    "base layer": (tensors(lambda t: t.update({f"{MODULE}.base_layer.weight": t[A]})), "base-layer"),
    "a path": (tensors(lambda t: t.update({"../../x": t[A]})), "foreign-tensor"),
    "half missing": (tensors(lambda t: t.pop(B)), "half-missing"),
    "undeclared module": (
        tensors(lambda t: t.update({k.replace("q_proj", "v_proj"): v for k, v in list(t.items())})),
        "undeclared-module",
    ),
    "ranks differ": (tensors(lambda t: t.update({B: np.zeros((8, 5), "f4")})), "rank-mismatch"),
    "rank not the config's": (configured(r=8), "other-rank"),
    "integers": (tensors(lambda t: t.update({A: np.zeros((4, 8), "i4")})), "dtype"),
    "not JSON": (config_text("{"), "config-json"),
    "deep": (config_text("[" * 100_000), "config-depth"),
    "key twice": (config_text('{"r": 4, "r": 5}'), "config-duplicate"),
    "NaN literal": (config_text('{"r": NaN}'), "config-nan"),
    "endless number": (config_text('{"r": ' + "9" * 5000 + "}"), "config-number"),
    "byte order mark": (config_text(b"\xef\xbb\xbf{}"), "config-utf8"),
    "bad UTF-8": (config_text(b"\xff{}"), "config-utf8"),
    "a list": (config_text("[]"), "config-json"),
    "large": (config_text(" " * 1_000_001), "config-size"),
    "unknown kind": (configured(peft_type="EVIL"), "peft-type"),
    "huge rank": (configured(r=50_000_000), "rank"),
    "rank true": (configured(r=True), "rank"),
    "alpha": (configured(lora_alpha=1e30), "alpha"),
    "no targets": (configured(target_modules=[]), "targets"),
    "many patterns": (configured(rank_pattern={f"a{n}": 4 for n in range(4_001)}), "rank-pattern"),
    "many targets": (configured(target_modules=["q_proj", *map(str, range(10_000))]), "targets"),
    "a target of control characters": (configured(target_modules=["q_proj", "\x1b[2J"]), "targets"),
    "a version of control characters": (configured(peft_version="\x1b]0;x\x07"), "setting-type"),
    "kind in small letters": (configured(peft_type="lora"), "peft-type"),
    "the first layer only": (configured(layers_to_transform=0), "layers-to-transform"),
    "two dots": (
        tensors(
            lambda t: [t.update({k.replace("model.layers", "model..layers"): t.pop(k)}) for k in list(t)]
        ),
        "foreign-tensor",
    ),
    "code behind ten thousand files": (
        lambda f: [(f / f"{n:05}.txt").touch() for n in range(10_000)],
        "too-many-files",
    ),
    "rank pattern": (configured(rank_pattern={"(a+)+$": 4}), "rank-pattern"),
    "replication": (configured(layer_replication=[[0, 4]] * 20_000), "layer-replication"),
    "auto mapping": (configured(auto_mapping={"parent_library": "os"}), "auto-mapping"),
    "megatron": (configured(megatron_config={"x": 1}), "megatron-config"),
    "modules to save": (configured(modules_to_save=["lm_head"]), "modules-to-save"),
    "pissa": (configured(init_lora_weights="pissa_niter_4"), "changes-base"),
}


@pytest.mark.parametrize(("spoil", "code"), REFUSED.values(), ids=REFUSED)
def test_refused_by_name_and_nothing_is_registered(
    registry: Registry, home: Path, folder: Path, spoil: Spoil, code: str
) -> None:
    spoil(folder)
    with pytest.raises(LftregError) as error:
        taken(registry, folder)
    assert error.value.code == code
    assert error.value.hint
    assert error.value.exit_code in (2, 3)
    assert not [path for path in home.rglob("*") if path.is_file()]


def test_a_good_adapter_comes_in_and_goes_out_the_same(
    registry: Registry, folder: Path, tmp_path: Path
) -> None:
    version = taken(registry, folder)
    assert (version.kind, version.rank, version.target_modules) == ("imported", 4, ("q_proj",))
    out = export_folder(registry, version, tmp_path / "deep" / "out")
    assert (out / WEIGHTS).read_bytes() == (folder / WEIGHTS).read_bytes()
    again = import_folder(registry, out, name="again", base=BASE)
    assert again.digest == version.digest
    with pytest.raises(LftregError, match="there already"):
        export_folder(registry, version, out)


def test_a_pattern_for_targets_is_never_run(registry: Registry, folder: Path) -> None:
    configured(target_modules="(?:.*?(?:layers|blocks).*?(?:q_proj|v_proj).*?)|nothing")(folder)
    version = taken(registry, folder)
    assert version.target_modules == ("model.layers.0.self_attn.q_proj",)


def test_the_commit_of_a_strangers_base_is_not_kept(registry: Registry, folder: Path) -> None:
    configured(revision="refs/pr/1")(folder)
    assert "revision" not in registry.config(taken(registry, folder))


KNOWN = {"model.layers.0.self_attn.q_proj": (8, 8), "model.embed_tokens": (16, 8)}
BARE = {"h.0.attn.c_attn": (8, 24), "wte": (16, 8)}


@pytest.mark.parametrize(
    ("known", "real", "module", "found"),
    [
        (KNOWN, KNOWN, "model.layers.0.self_attn.q_proj", (8, 8)),
        (KNOWN, KNOWN, "other.model.layers.0.self_attn.q_proj", None),
        (KNOWN, KNOWN, "model.model.layers.0.self_attn.q_proj", None),
        (KNOWN, KNOWN, "layers.0.self_attn.q_proj", None),
        (KNOWN, None, "layers.0.self_attn.q_proj", (8, 8)),
        (BARE, None, "transformer.h.0.attn.c_attn", (8, 24)),
        (BARE, {"gpt.h.0.attn.c_attn": (8, 24)}, "gpt.h.0.attn.c_attn", (8, 24)),
    ],
)
def test_a_module_is_found_by_the_name_that_the_model_has_for_it(
    known: dict[str, Any], real: dict[str, Any] | None, module: str, found: tuple[int, ...] | None
) -> None:
    assert Shapes(known, lambda: real).find(module) == found


def test_a_usual_prefix_asks_no_model() -> None:
    def ask() -> None:
        raise AssertionError("the model was asked")

    assert Shapes(BARE, ask).find("transformer.h.0.attn.c_attn") == (8, 24)


def test_bfloat16_is_read_and_its_nan_seen(registry: Registry, folder: Path) -> None:
    body = b"\x80\x3f" * 32 + b"\x80\x3f" * 32
    head = {A: entry(0, 64, [4, 8], "BF16"), B: entry(64, 128, [8, 4], "BF16")}
    raw_weights(head, body)(folder)
    assert taken(registry, folder).trainable_parameters == 64
    raw_weights(head, body[:-2] + b"\xc0\x7f")(folder)
    with pytest.raises(InvalidData, match="NaN"):
        taken(registry, folder)
