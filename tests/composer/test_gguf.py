"""An adapter for llama.cpp, read back as llama.cpp reads it and held against what PEFT adds to each weight."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from peft.tuners.lora import LoraLayer
from transformers import AutoModelForCausalLM
from transformers.modeling_gguf_pytorch_utils import GPT2TensorProcessor, LlamaTensorProcessor

from lftreg.composer.gguf import FAMILIES, interleaved, write_gguf
from lftreg.errors import CheckFailed, LftregError, UsageError
from lftreg.models.base import find_base
from lftreg.registry import WEIGHTS, Draft, Version
from tests.conftest import TINY, Tiny, save_tiny

from .hand import LINEAR, Hand

FUSED = ["qkv_proj", "o_proj", "gate_up_proj", "down_proj"]
TARGETS = {"gpt2": ["c_attn", "c_proj", "c_fc"], "phi3": FUSED}
FAR = 1e-6


def written(hand: Hand, version: Version) -> tuple[dict[str, Any], dict[str, np.ndarray[Any, Any]]]:
    """The fields and the tensors of the file, in the shapes that numpy has them."""
    path = write_gguf(version, hand.registry, hand.folder / "out.gguf")
    reader = gguf.GGUFReader(path)
    fields = {name: field.contents() for name, field in reader.fields.items()}
    return fields, {tensor.name: np.array(tensor.data) for tensor in reader.tensors}


def added(hand: Hand, base: Path, version: Version) -> dict[str, np.ndarray[Any, Any]]:
    """What PEFT adds to the weight of every layer, by path; Conv1D turned to (outputs, inputs)."""
    from peft import PeftModel

    folder = hand.folder / "for-peft"
    folder.mkdir()
    for file in version.files:
        (folder / file.name).write_bytes(hand.registry.read(version, file.name))
    peft = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(folder))
    found = {}
    with torch.no_grad():
        for path, module in peft.base_model.model.named_modules():
            if isinstance(module, LoraLayer):
                delta = module.get_delta_weight("default")
                found[path] = (delta.T if module.fan_in_fan_out else delta).numpy()
    return found


def applied(
    fields: dict[str, Any], tensors: dict[str, np.ndarray[Any, Any]]
) -> dict[str, np.ndarray[Any, Any]]:
    """What llama.cpp adds to each of its weights: alpha / rank times B A, the rank being that of the pair."""
    alpha = fields["adapter.lora.alpha"]
    names = {name.rpartition(".lora_")[0] for name in tensors}
    made = {}
    for name in names:
        a, b = tensors[f"{name}.lora_a"], tensors[f"{name}.lora_b"]
        scale = alpha / b.shape[1] if alpha else 1.0
        made[name] = scale * (a @ b.T if name == "token_embd.weight" else b @ a)
    return made


def as_transformers_reads(config: dict[str, Any], name: str, weight: Any) -> Any:
    """The loader of transformers undoes what llama.cpp's converter does to a weight of the base."""
    if config["model_type"] == "gpt2":
        return GPT2TensorProcessor(config).process(weight, name).weights.T
    if FAMILIES[config["model_type"]].permuted:
        return LlamaTensorProcessor(config).process(weight, name).weights
    return weight


NAMES = {
    "q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "qkv_proj": "attn_qkv",
    "gate_proj": "ffn_gate", "up_proj": "ffn_up", "gate_up_proj": "ffn_up", "down_proj": "ffn_down",
    "attn.c_attn": "attn_qkv", "attn.c_proj": "attn_output", "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down",
}  # fmt: skip


def name_of(path: str) -> str:
    """llama.cpp's name of a weight, said once more by hand."""
    if path == "lm_head":
        return "output.weight"
    if path.endswith("embed_tokens"):
        return "token_embd.weight"
    parts = path.split(".")
    number = next(part for part in parts if part.isdecimal())
    return f"blk.{number}.{NAMES.get(parts[-1]) or NAMES['.'.join(parts[-2:])]}.weight"


def same_as_peft(hand: Hand, base: Path, version: Version) -> dict[str, Any]:
    fields, tensors = written(hand, version)
    config = json.loads((base / "config.json").read_text())
    theirs = {name_of(path): delta for path, delta in added(hand, base, version).items()}
    made = applied(fields, tensors)
    assert set(made) == set(theirs)
    for name, delta in theirs.items():
        mine = as_transformers_reads(config, name, made[name])
        assert np.abs(mine - delta).max() <= FAR * np.abs(delta).max(), name
    return fields


@pytest.mark.parametrize("model_type", ["llama", "mistral", "qwen2", "qwen3", "gemma", "phi3", "gpt2"])
def test_every_family_gets_what_peft_adds(model_type: str, tiny: Tiny, hand: Hand) -> None:
    base = tiny(model_type)
    more = {"fan_in_fan_out": True} if model_type == "gpt2" else {}
    version = hand.adapter(base, TARGETS.get(model_type, LINEAR), **more)
    fields = same_as_peft(hand, base, version)
    assert fields["general.architecture"] == FAMILIES[model_type].architecture
    assert fields["general.type"] == "adapter"
    assert fields["adapter.type"] == "lora"
    assert fields["adapter.lora.alpha"] == 8.0


@pytest.mark.parametrize("model_type", ["gemma2", "gemma3_text"])
def test_later_gemmas(model_type: str, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TINY, model_type, TINY["gemma"])
    base = save_tiny(model_type, hand.folder / "base")
    fields = same_as_peft(hand, base, hand.adapter(base, LINEAR))
    assert fields["general.architecture"] == model_type.removesuffix("_text")


@pytest.mark.parametrize(
    "lora",
    [
        {"use_rslora": True},
        {"rank_pattern": {"q_proj": 7, r"layers\.1\..*up_proj": 2}, "alpha_pattern": {"down_proj": 3}},
        {"lora_alpha": 0},
    ],
)
def test_scales_that_llama_cpp_does_not_know(lora: dict[str, Any], tiny_llama: Path, hand: Hand) -> None:
    same_as_peft(hand, tiny_llama, hand.adapter(tiny_llama, LINEAR, **lora))


def test_an_embedding_and_the_head(hand: Hand) -> None:
    base = save_tiny("llama", hand.folder / "base", tie_word_embeddings=False)
    same_as_peft(hand, base, hand.adapter(base, ["embed_tokens", "lm_head", "v_proj"]))


def test_plain_factors_are_as_they_were(tiny_llama: Path, hand: Hand) -> None:
    version = hand.adapter(tiny_llama, LINEAR)
    _, tensors = written(hand, version)
    from safetensors.numpy import load_file

    factors = load_file(hand.registry.file(version, WEIGHTS))
    stem = "base_model.model.model.layers.1.mlp.down_proj.lora_"
    assert np.array_equal(tensors["blk.1.ffn_down.weight.lora_a"], factors[f"{stem}A.weight"])
    assert np.array_equal(tensors["blk.1.ffn_down.weight.lora_b"], factors[f"{stem}B.weight"])


def test_neighbours_turn_as_the_halves_did() -> None:
    """From the definition of a rotation: pairs (i, i + n/2) by transformers, (2 i, 2 i + 1) by llama.cpp."""
    heads, size = 3, 8
    draw = np.random.default_rng(0)
    turns = np.exp(1j * draw.uniform(0, 6, size // 2))
    query = draw.normal(size=(heads, size))
    halves = (query[:, : size // 2] + 1j * query[:, size // 2 :]) * turns
    rows = interleaved(query.reshape(-1, 1).astype(np.float32), heads).reshape(heads, size)
    pairs = (rows[:, 0::2] + 1j * rows[:, 1::2]) * turns
    assert np.allclose(halves, pairs, atol=1e-6)


def test_the_same_adapter_is_the_same_file(tiny_llama: Path, hand: Hand) -> None:
    version = hand.adapter(tiny_llama, LINEAR)
    files = [write_gguf(version, hand.registry, hand.folder / f"{n}.gguf").read_bytes() for n in (1, 2)]
    assert files[0] == files[1]


def refused(hand: Hand, version: Version, *words: str) -> LftregError:
    before = sorted(hand.folder.iterdir())
    with pytest.raises(LftregError) as caught:
        write_gguf(version, hand.registry, hand.folder / "out.gguf")
    assert sorted(hand.folder.iterdir()) == before
    assert caught.value.hint
    for word in words:
        assert word in caught.value.message
    return caught.value


@pytest.mark.parametrize("model_type", ["gpt_neox", "falcon"])
def test_other_families_are_refused_by_name(model_type: str, tiny: Tiny, hand: Hand) -> None:
    version = hand.adapter(tiny(model_type), ["query_key_value"])
    error = refused(hand, version, model_type)
    assert error.code == "no-gguf-family"
    assert "llama" in (error.hint or "")


def test_layers_that_llama_cpp_would_pass_over(tiny_gpt2: Path, hand: Hand) -> None:
    version = hand.adapter(tiny_gpt2, ["wpe", "c_attn"], fan_in_fan_out=True)
    assert refused(hand, version, "transformer.wpe").code == "no-gguf-layer"


def test_a_tied_embedding(tiny_llama: Path, hand: Hand) -> None:
    assert refused(hand, hand.adapter(tiny_llama, ["embed_tokens"]), "embed_tokens").code == "tied-weights"


def test_what_factors_cannot_hold(tiny_llama: Path, hand: Hand) -> None:
    version = hand.changed(hand.adapter(tiny_llama, ["q_proj"]), use_dora=True)
    assert refused(hand, version, "use_dora").code == "uses-use-dora"


def test_heads_that_do_not_fit(hand: Hand) -> None:
    base = save_tiny("llama", hand.folder / "base")
    version = hand.adapter(base, ["q_proj"])
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps(config | {"num_attention_heads": 3}))
    assert refused(hand, version, "3 heads").code == "different-shapes"


def test_a_base_of_another_family_in_its_place(hand: Hand) -> None:
    base = save_tiny("llama", hand.folder / "base")
    version = hand.adapter(base, ["q_proj"])
    save_tiny("qwen3", base)
    assert refused(hand, version, "qwen3").code == "base-changed"


def test_a_changed_file_and_a_taken_path(tiny_llama: Path, hand: Hand) -> None:
    version = hand.adapter(tiny_llama, ["q_proj"])
    (hand.folder / "out.gguf").write_text("mine")
    with pytest.raises(UsageError):
        write_gguf(version, hand.registry, hand.folder / "out.gguf")
    assert (hand.folder / "out.gguf").read_text() == "mine"
    file = hand.registry.file(version, WEIGHTS)
    file.chmod(0o644)
    file.write_bytes(file.read_bytes()[:-1] + b"\x01")
    with pytest.raises(CheckFailed):
        write_gguf(version, hand.registry, hand.folder / "other.gguf")


def test_without_the_package(tiny_llama: Path, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    version = hand.adapter(tiny_llama, ["q_proj"])
    monkeypatch.setitem(sys.modules, "gguf", None)
    error = refused(hand, version, "gguf")
    assert (error.code, error.exit_code) == ("no-gguf", 5)
    assert error.hint == "pip install 'lftreg[gguf]'"


def test_a_package_too_old_for_a_family(tiny: Tiny, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    version = hand.adapter(tiny("qwen3"), ["q_proj"])
    monkeypatch.setitem(sys.modules, "gguf", SimpleNamespace(MODEL_ARCH_NAMES={1: "llama"}))
    assert refused(hand, version, "qwen3").code == "old-gguf"


def test_the_starter(hand: Hand) -> None:
    from lftreg.paths import starter_folder

    version = hand.adapter(starter_folder(), LINEAR)
    record = find_base("starter", hand.registry).record
    moved = hand.registry.publish(
        Draft("s", "trained", record, hand.registry.file(version, WEIGHTS), hand.registry.config(version))
    )
    _, tensors = written(hand, moved)
    assert len(tensors) == 2 * 7 * 8
    assert all(tensor.dtype == np.float32 for tensor in tensors.values())
