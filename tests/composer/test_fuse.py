"""An adapter in its base: what the folder holds is what PEFT's merge_and_unload makes of the two."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

from lftreg.composer.fuse import Fused, fuse
from lftreg.errors import CheckFailed, LftregError, StorageError, UsageError
from lftreg.models.base import find_base
from lftreg.registry import CONFIG, WEIGHTS, Draft, Version
from tests.conftest import save_tiny, take_ctrl_c

from .hand import LINEAR, Hand

if TYPE_CHECKING:
    from lftreg.registry import Registry

UNTIED = {"tie_word_embeddings": False}
Make = Callable[..., Path]


@pytest.fixture
def base(tmp_path: Path) -> Make:
    """A small base in a folder, in a dtype and in shards of a size."""

    def make(model_type: str = "llama", dtype: str = "float32", shard: str = "5GB", **wide: Any) -> Path:
        folder = save_tiny(model_type, tmp_path / "base", **wide)
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=dtype)
        (folder / "model.safetensors").unlink()
        model.save_pretrained(folder, max_shard_size=shard)
        return folder

    return make


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return {k: t for file in sorted(folder.glob("*.safetensors")) for k, t in load_file(file).items()}


def logits_of(model: Any) -> torch.Tensor:
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(input_ids=torch.arange(3, 40)[None]).logits
    return logits.float()


def same_as_peft(hand: Hand, folder: Path, base: Path, version: Version) -> None:
    """Weights to 1e-6 of the largest, logits to 1e-5, as float32 allows. Whatever PEFT left is bit for bit."""
    mine, theirs = AutoModelForCausalLM.from_pretrained(folder), hand.merged(base, version)
    bare = AutoModelForCausalLM.from_pretrained(base).state_dict()
    wanted = theirs.state_dict()
    assert set(mine.state_dict()) == set(wanted)
    moved = 0
    for key, tensor in mine.state_dict().items():
        if torch.equal(wanted[key], bare[key]):
            assert torch.equal(tensor, bare[key]), key
            continue
        moved += 1
        assert (tensor - wanted[key]).abs().max() <= 1e-6 * wanted[key].abs().max(), key
    assert moved
    torch.testing.assert_close(logits_of(mine), logits_of(theirs), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(
        logits_of(mine), logits_of(AutoModelForCausalLM.from_pretrained(base)), atol=1e-2
    )


CASES: dict[str, tuple[str, list[str], dict[str, Any], dict[str, Any]]] = {
    "every linear layer": ("llama", LINEAR, {}, {}),
    "rsLoRA": ("llama", LINEAR, {}, {"use_rslora": True}),
    "patterns": (
        "llama",
        LINEAR,
        {},
        {"rank_pattern": {"q_proj": 7, r"layers\.1\..*up_proj": 2}, "alpha_pattern": {"down_proj": 3}},
    ),
    "Conv1D, square ones too": ("gpt2", ["c_attn", "c_proj", "c_fc"], {}, {"fan_in_fan_out": True}),
    "an embedding and the head": ("llama", ["embed_tokens", "lm_head", "v_proj"], UNTIED, {}),
    "an embedding that is no word's": ("gpt2", ["wpe", "c_attn"], {}, {"fan_in_fan_out": True}),
    "another family": ("phi3", ["qkv_proj", "gate_up_proj"], {}, {}),
}


@pytest.mark.parametrize("case", CASES)
def test_the_folder_is_what_peft_makes(case: str, base: Make, hand: Hand) -> None:
    model_type, targets, wide, lora = CASES[case]
    folder = base(model_type, **wide)
    version = hand.adapter(folder, targets, **lora)
    same_as_peft(hand, hand.fuse(version), folder, version)


def test_a_small_block_at_a_time_is_the_same(base: Make, hand: Hand, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = base()
    version = hand.adapter(folder, LINEAR)
    whole = weights_of(hand.fuse(version))
    monkeypatch.setattr("lftreg.composer.fuse.BLOCK", 100)
    monkeypatch.setattr("lftreg.composer.fuse.CHUNK", 1000)
    pieces = weights_of(fuse(version, hand.registry, hand.folder / "pieces").folder)
    for key, tensor in whole.items():
        assert torch.allclose(pieces[key], tensor, rtol=0, atol=1e-7), key


def test_shards_keep_their_names_their_headers_and_what_is_not_adapted(base: Make, hand: Hand) -> None:
    folder = base(shard="20KB")
    files = sorted(path.name for path in folder.glob("*.safetensors"))
    assert len(files) > 3
    version = hand.adapter(folder, ["q_proj"])
    out = hand.fuse(version)
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in folder.iterdir())
    for name in files:
        old, new = (folder / name).read_bytes(), (out / name).read_bytes()
        length = 8 + int.from_bytes(old[:8], "little")
        assert len(old) == len(new)
        assert old[:length] == new[:length]
    before, after = weights_of(folder), weights_of(out)
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key]) == ("q_proj" not in key), key
    same_as_peft(hand, out, folder, version)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_sixteen_bits_are_rounded_once(dtype: str, base: Make, hand: Hand) -> None:
    """Ours is the exact sum rounded to the nearest; PEFT's is off by a rounding of what it adds, at most."""
    folder = base(dtype=dtype)
    version = hand.adapter(folder, LINEAR)
    out = weights_of(hand.fuse(version))
    theirs = hand.merged(folder, version).state_dict()
    factors = load_file(hand.registry.file(version, WEIGHTS))
    kind = getattr(torch, dtype)
    for key, before in weights_of(folder).items():
        assert out[key].dtype == kind
        stem = f"base_model.model.{key.removesuffix('.weight')}.lora_"
        if f"{stem}A.weight" not in factors:
            assert torch.equal(out[key], before)
            continue
        added = 2 * factors[f"{stem}B.weight"].double() @ factors[f"{stem}A.weight"].double()
        exact = before.double() + added
        away = (out[key].double() - exact).abs()
        # Half a step of the dtype, and the error of a sum in float32, which may tip a tie.
        step = torch.finfo(kind).eps * exact.abs().clamp(min=torch.finfo(kind).tiny)
        assert (away <= step / 2 + 1e-6).all(), key
        assert (out[key] == exact.to(kind)).float().mean() > 0.999, key
        between = (out[key].double() - theirs[key].double()).abs()
        assert (between <= 1.01 * step + torch.finfo(kind).eps * added.abs() + 1e-6).all(), key


def test_a_checkpoint_without_the_prefix(base: Make, hand: Hand) -> None:
    """GPT-2's on the hub was saved from the model without its head."""
    folder = base("gpt2")
    file = folder / "model.safetensors"
    bare = {key.removeprefix("transformer."): tensor for key, tensor in load_file(file).items()}
    save_file(bare, file, metadata={"format": "pt"})
    version = hand.adapter(folder, ["c_attn", "c_proj"], fan_in_fan_out=True)
    out = hand.fuse(version)
    assert "h.0.attn.c_attn.weight" in weights_of(out)
    same_as_peft(hand, out, folder, version)


def test_what_goes_along_and_what_stays_behind(base: Make, hand: Hand) -> None:
    folder = base()
    version = hand.adapter(folder, ["q_proj"])
    for name in ("pytorch_model.bin", "adapter_config.json", "run.py", "LICENSE", "spiece.model"):
        (folder / name).write_bytes(b"{}")
    out = fuse(version, hand.registry, hand.folder / "out")
    names = {path.name for path in out.folder.iterdir()}
    assert {"config.json", "tokenizer.json", "generation_config.json", "chat_template.jinja"} <= names
    assert {"LICENSE", "spiece.model"} <= names
    assert not {"pytorch_model.bin", "adapter_config.json", "run.py"} & names
    assert (out.changed, out.copied) == (2, len(weights_of(folder)) - 2)


@pytest.mark.parametrize("layer", ["embed_tokens", "lm_head"])
def test_tied_weights_are_refused_by_name(layer: str, base: Make, hand: Hand) -> None:
    assert refused(hand, hand.adapter(base(), [layer, "q_proj"]), layer) == "tied-weights"


def refused(hand: Hand, version: Version, *words: str) -> str:
    """The code of the refusal. Nothing may have been written."""
    before = sorted(hand.folder.iterdir())
    with pytest.raises(LftregError) as caught:
        hand.fuse(version)
    assert sorted(hand.folder.iterdir()) == before
    assert caught.value.hint
    for word in words:
        assert word in caught.value.message
    return caught.value.code


def test_what_factors_cannot_hold_is_refused_by_name(base: Make, hand: Hand) -> None:
    version = hand.adapter(base(), ["q_proj"])
    assert refused(hand, hand.changed(version, use_dora=True), "exported", "DoRA") == "uses-use-dora"
    assert refused(hand, hand.changed(version, lora_bias=True), "lora_bias") == "uses-lora-bias"
    whole = hand.changed(version, modules_to_save=["lm_head"])
    assert refused(hand, whole, "modules_to_save") == "uses-modules-to-save"
    start = hand.changed(version, init_lora_weights="pissa")
    assert refused(hand, start, "pissa") == "uses-init-lora-weights"


def test_a_layer_that_the_files_do_not_have(base: Make, hand: Hand) -> None:
    """As experts that a checkpoint keeps one by one and the model in one tensor, or the other way round."""
    folder = base()
    version = hand.adapter(folder, ["q_proj"])
    tensors = load_file(hand.registry.file(version, WEIGHTS))
    name = "base_model.model.model.layers.0.mlp.experts"
    tensors[f"{name}.lora_A.weight"] = torch.ones(4, 32)
    tensors[f"{name}.lora_B.weight"] = torch.ones(32, 4)
    save_file(tensors, hand.folder / "more.safetensors")
    config = hand.registry.config(version)
    more = hand.registry.publish(
        Draft("more", "imported", version.base, hand.folder / "more.safetensors", config)
    )
    assert refused(hand, more, "model.layers.0.mlp.experts.weight") == "no-such-tensor"


def test_a_base_that_cannot_take_a_sum(base: Make, hand: Hand) -> None:
    folder = base()
    config = json.loads((folder / "config.json").read_text())
    version = hand.adapter(folder, ["q_proj"])
    quantized = config | {"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": True}}
    (folder / "config.json").write_text(json.dumps(quantized))
    record = find_base(str(folder), hand.registry).record
    moved = hand.registry.publish(
        Draft("q", "imported", record, hand.registry.file(version, WEIGHTS), hand.registry.config(version))
    )
    assert refused(hand, moved, "quantized") == "quantized-base"
    assert refused(hand, version) == "base-changed"


def test_a_base_of_other_shapes(base: Make, hand: Hand) -> None:
    version = hand.adapter(base(), ["q_proj"])
    wider = save_tiny("llama", hand.folder / "wider", hidden_size=64)
    record = find_base(str(wider), hand.registry).record
    moved = hand.registry.publish(
        Draft("q", "imported", record, hand.registry.file(version, WEIGHTS), hand.registry.config(version))
    )
    assert refused(hand, moved, "q_proj.weight", "32 x 64", "32 x 32") == "different-shapes"


@pytest.mark.parametrize(("dtype", "alpha"), [("float16", 1e4), ("bfloat16", 1e38), ("float32", 1e38)])
def test_more_than_the_dtype_can_hold(dtype: str, alpha: float, base: Make, hand: Hand) -> None:
    version = hand.adapter(base(dtype=dtype), ["q_proj"])
    tensors = load_file(hand.registry.file(version, WEIGHTS))
    more = {key: tensor * (1000 if "lora_A" in key else 1) for key, tensor in tensors.items()}
    save_file(more, hand.folder / "more.safetensors")
    config = hand.registry.config(version) | {"lora_alpha": alpha}
    huge = hand.registry.publish(
        Draft("huge", "imported", version.base, hand.folder / "more.safetensors", config)
    )
    assert refused(hand, huge, "q_proj") == "overflow"
    assert refused(hand, hand.changed(version, lora_alpha=1e40), "q_proj") == "overflow"


def test_a_factor_that_is_no_number(base: Make, hand: Hand) -> None:
    version = hand.adapter(base(), ["q_proj"])
    tensors = load_file(hand.registry.file(version, WEIGHTS))
    next(iter(tensors.values()))[0, 0] = float("nan")
    save_file(tensors, hand.folder / "more.safetensors")
    config = hand.registry.config(version)
    broken = hand.registry.publish(
        Draft("nan", "imported", version.base, hand.folder / "more.safetensors", config)
    )
    assert refused(hand, broken, "q_proj") == "not-finite"


def test_a_large_sum_that_fits(base: Make, hand: Hand) -> None:
    folder = base(dtype="bfloat16")
    version = hand.changed(hand.adapter(folder, ["q_proj"]), lora_alpha=1e34)
    out = weights_of(hand.fuse(version))
    assert all(tensor.isfinite().all() for tensor in out.values())


def test_an_infinity_of_the_base_stays_one(base: Make, hand: Hand) -> None:
    folder = base(dtype="float16")
    tensors = load_file(folder / "model.safetensors")
    key = "model.layers.0.self_attn.q_proj.weight"
    tensors[key][0, 0], tensors[key][1, 1] = float("inf"), float("nan")
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    out = weights_of(hand.fuse(hand.adapter(folder, ["q_proj"])))[key]
    assert out[0, 0] == float("inf")
    assert out[1, 1].isnan()
    assert int(out.isfinite().sum()) == out.numel() - 2


@pytest.mark.parametrize("name", [WEIGHTS, CONFIG])
def test_a_file_that_was_changed_in_the_store(name: str, base: Make, hand: Hand) -> None:
    version = hand.adapter(base(), ["q_proj"])
    file = hand.registry.file(version, name)
    file.chmod(0o644)
    content = bytearray(file.read_bytes())
    content[-2] ^= 1
    file.write_bytes(content)
    with pytest.raises(CheckFailed) as caught:
        hand.fuse(version)
    assert caught.value.code == "changed-file"
    assert not (hand.folder / "out").exists()


def test_nothing_is_written_over(base: Make, hand: Hand) -> None:
    version = hand.adapter(base(), ["q_proj"])
    (hand.folder / "out").mkdir()
    with pytest.raises(UsageError) as caught:
        hand.fuse(version)
    assert caught.value.code == "exists"


@pytest.mark.skipif(sys.platform == "win32", reason="no limits on files there")
def test_a_full_disk_leaves_nothing(base: Make, hand: Hand) -> None:
    """A limit on the size of a file stops the writing in the middle, as a full disk does."""
    import resource

    version = hand.adapter(base(), ["q_proj"])
    before = sorted(hand.folder.iterdir())
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
    try:
        with pytest.raises(StorageError) as caught:
            hand.fuse(version)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert os.strerror(errno.EFBIG) in caught.value.message
    assert sorted(hand.folder.iterdir()) == before


SLOW = """
import sys, time
from lftreg.composer import fuse as module
from lftreg import outputs
write = module.write_at
def slowly(*given):
    print("writing", flush=True)
    time.sleep(0.2)
    write(*given)
module.write_at = slowly
from pathlib import Path
from lftreg.registry import Registry
with Registry() as registry:
    module.fuse(registry.get("one"), registry, Path(sys.argv[1]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for another process there")
def test_ctrl_c_leaves_nothing(base: Make, hand: Hand) -> None:
    hand.adapter(base(), LINEAR)
    hand.registry.close()
    place = hand.folder / "place"
    process = subprocess.Popen(
        [sys.executable, "-c", SLOW, str(place / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        preexec_fn=take_ctrl_c,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert list(place.iterdir()) == []


def test_no_torch_is_needed(base: Make, hand: Hand) -> None:
    version = hand.adapter(base(), ["q_proj"])
    code = (
        "import sys; from pathlib import Path; from lftreg.composer.fuse import fuse\n"
        "from lftreg.registry import Registry\n"
        "registry = Registry(); fuse(registry.get(sys.argv[1]), registry, Path(sys.argv[2]))\n"
        "print(sorted({'torch', 'transformers', 'peft', 'safetensors'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, version.ref, str(hand.folder / "out")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_the_starter(registry: Registry, tmp_path: Path) -> None:
    """bfloat16, and the model that everybody has."""
    from lftreg.paths import starter_folder

    hand = Hand(registry, tmp_path)
    version = hand.adapter(starter_folder(), LINEAR)
    out: Fused = fuse(version, registry, tmp_path / "out")
    assert out.changed == 7 * 8
    mine, theirs = AutoModelForCausalLM.from_pretrained(out.folder), hand.merged(starter_folder(), version)
    off = (logits_of(mine) - logits_of(theirs)).norm() / logits_of(theirs).norm()
    assert off < 0.02
