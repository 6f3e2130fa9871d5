"""What leaves: a model with the adapter in it, and a file for llama.cpp. PEFT's folder is in test_commands.py."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import gguf
import numpy as np
import pytest
from safetensors.numpy import save_file

from lftreg.models.base import find_base
from lftreg.paths import starter_folder
from lftreg.registry import Draft, Version
from lftreg.tensors import Source

from .conftest import Lftreg, Publish

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from lftreg.registry import Registry

PATH = "model.layers.3.self_attn.q_proj"
Factors = dict[str, "np.ndarray[tuple[int, ...], np.dtype[np.float32]]"]
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}


@pytest.fixture
def factors() -> Factors:
    draw = np.random.default_rng(0)
    return {
        "A": draw.normal(size=(4, 384)).astype(np.float32),
        "B": draw.normal(size=(384, 4)).astype(np.float32),
    }


@pytest.fixture
def real(factors: Factors, registry: Registry, tmp_path: Path) -> Version:
    """An adapter of the starter, called support."""
    weights = tmp_path / "support.safetensors"
    save_file(
        {f"base_model.model.{PATH}.lora_{part}.weight": factor for part, factor in factors.items()}, weights
    )
    base = find_base("starter", registry).record
    return registry.publish(Draft("support", "trained", base, weights, CONFIG))


def test_a_whole_model(
    lftreg: Lftreg,
    real: Version,
    factors: Factors,
    tmp_path: Path,
) -> None:
    done = lftreg("export", "support", "--format", "merged", "--output", "out", "--json")
    assert done.document == {
        "ref": "support@1",
        "format": "merged",
        "path": str(tmp_path / "out"),
        "files": sorted(path.name for path in (tmp_path / "out").iterdir()),
        "tensors": {"changed": 1, "copied": 73},
    }
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(done.document["files"])
    key = f"{PATH}.weight"
    with (
        Source(starter_folder() / "model.safetensors") as old,
        Source(tmp_path / "out/model.safetensors") as new,
    ):
        assert old.header == new.header
        wanted = old.read(key) + 2 * factors["B"] @ factors["A"]
        assert np.abs(new.read(key) - wanted).max() <= 2**-8 * np.abs(wanted).max()
        assert not np.array_equal(old.read(key), new.read(key))


def test_what_it_says(lftreg: Lftreg, real: Version, tmp_path: Path) -> None:
    done = lftreg("export", "support", "--format", "merged", "--output", "out")
    assert done.out == ""
    assert done.err.startswith(f"wrote support@1 to {tmp_path / 'out'}: chat_template.jinja, config.json")
    assert (
        lftreg("export", "support", "--format", "gguf", "-o", "a.gguf", "-q").out
        == f"{tmp_path / 'a.gguf'}\n"
    )
    error = lftreg("export", "support", "--format", "gguf", "-o", "a.gguf", "--json", code=2).error
    assert error["code"] == "exists"
    lftreg("export", "support", "--format", "onnx", "-o", "b", code=2)


def test_a_model_is_a_base_like_any_other(lftreg: Lftreg, real: Version) -> None:
    lftreg("export", "support", "--format", "merged", "--output", "out")
    document = lftreg("targets", "./out", "--json").document
    assert document == lftreg("targets", "starter", "--json").document | {"base": document.get("base")}


def test_a_file_for_llama_cpp(lftreg: Lftreg, real: Version, tmp_path: Path) -> None:
    document = lftreg(
        "export", "support", "--format", "gguf", "--output", "x/support.gguf", "--json"
    ).document
    file = tmp_path / "x" / "support.gguf"
    assert document == {"ref": "support@1", "format": "gguf", "path": str(file), "files": ["support.gguf"]}
    reader = gguf.GGUFReader(file)
    assert reader.fields["general.architecture"].contents() == "llama"
    assert reader.fields["adapter.lora.alpha"].contents() == 8
    shapes = {tensor.name: tuple(tensor.data.shape) for tensor in reader.tensors}
    assert shapes == {"blk.3.attn_q.weight.lora_a": (4, 384), "blk.3.attn_q.weight.lora_b": (384, 4)}
    assert [path.name for path in file.parent.iterdir()] == ["support.gguf"]


def test_without_the_package_it_says_what_to_install(lftreg: Lftreg, real: Version, tmp_path: Path) -> None:
    """A module of that name which cannot be imported stands before the real one."""
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "gguf.py").write_text("raise ImportError('not here')")
    path = os.pathsep.join([str(tmp_path / "hidden"), *filter(None, [os.environ.get("PYTHONPATH")])])
    done = lftreg("export", "support", "--format", "gguf", "-o", "a.gguf", "--json", code=5, PYTHONPATH=path)
    assert done.error["code"] == "no-gguf"
    assert "lftreg[gguf]" in done.error["hint"]
    assert not (tmp_path / "a.gguf").exists()


def test_a_base_that_is_not_the_one(lftreg: Lftreg, desk: Version) -> None:
    error = lftreg("export", "support", "--format", "merged", "-o", "out", "--json", code=3).error
    assert error["code"] == "base-changed"


def test_an_adapter_that_factors_cannot_hold(
    lftreg: Lftreg, real: Version, registry: Registry, tmp_path: Path
) -> None:
    registry.publish(
        Draft("dora", "imported", real.base, tmp_path / "support.safetensors", CONFIG | {"use_dora": True})
    )
    for format_ in ("merged", "gguf"):
        error = lftreg("export", "dora", "--format", format_, "-o", "out", "--json", code=2).error
        assert error["code"] == "uses-use-dora"
        assert "dora@1" in json.dumps(error)
    assert not (tmp_path / "out").exists()
    lftreg("export", "dora", "-o", "out")


def test_the_layout_of_ray(lftreg: Lftreg, desk: Version, tmp_path: Path) -> None:
    done = lftreg("export", "support", "finance@1", "--ray", "--output", "out", "--json").document
    names = [one["lora_id"] for one in done["adapters"]]
    assert (done["ref"], done["format"], done["max_lora_rank"]) == (None, "ray", 8)
    assert (
        done["files"]
        == sorted(["lftreg.json", *names])
        == sorted(p.name for p in (tmp_path / "out").iterdir())
    )
    assert (
        lftreg("export", "support", "--format", "ray", "-o", "one", "--json").document["ref"] == "support@1"
    )
    for words in (
        ["support", "finance"],
        ["support", "--ray", "--recipe"],
        ["support", "--ray", "--format", "peft"],
    ):
        assert lftreg("export", *words, "-o", "x", "--json", code=2).error["code"] == "usage"


def test_show_tells_whether_vllm_serves_it(lftreg: Lftreg, publish: Publish) -> None:
    publish("support")
    publish("dora", config=CONFIG | {"use_dora": True})
    assert lftreg("show", "support", "--json").document["servable"] == {
        "vllm": True, "why": [], "max_lora_rank": 8
    }  # fmt: skip
    assert "serves it with --max-lora-rank 8" in lftreg("show", "support").out
    refused = lftreg("show", "dora", "--json").document["servable"]
    assert refused == {"vllm": False, "why": ["it is a DoRA"], "max_lora_rank": 8}
    assert "cannot serve it: it is a DoRA" in lftreg("show", "dora").out
    error = lftreg("export", "dora", "--ray", "-o", "out", "--json", code=2).error
    assert error["code"] == "not-servable" and "it is a DoRA" in error["message"]


def test_show_of_a_version_whose_files_are_lost(lftreg: Lftreg, publish: Publish, registry: Registry) -> None:
    made = publish("support")
    registry.blobs.path(made.files[0].sha256).unlink()
    told = lftreg("show", "support", "--json").document["servable"]
    assert told["vllm"] is False and "is missing" in told["why"][0]
