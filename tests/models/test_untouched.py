"""Whatever adapter the gate lets in: once it has been loaded and unloaded, the base is what it was, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.models.tasks import CLASSIFY, natural_task
from lftreg.registry import Registry, Version
from lftreg.remotes.folder import import_folder
from lftreg.serving.engine import Engine
from tests.conftest import Tiny
from tests.serving.adapters import ask

ATTENTION = ["q_proj", "v_proj"]
ODD: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("llama", {"target_modules": ATTENTION}),
    "rank-stabilised": ("llama", {"target_modules": ATTENTION, "use_rslora": True}),
    "dora": ("llama", {"target_modules": ATTENTION, "use_dora": True}),
    "bias-of-its-own": ("llama", {"target_modules": ATTENTION, "lora_bias": True}),
    "patterns": (
        "llama",
        {"target_modules": ATTENTION, "rank_pattern": {"v_proj": 2}, "alpha_pattern": {"layers.1.self_attn.q_proj": 3}},
    ),
    "a-pattern-of-targets": ("llama", {"target_modules": r".*\.layers\.1\.mlp\.(up|down)_proj"}),
    "all-linear": ("llama", {"target_modules": "all-linear"}),
    "embeddings": ("llama", {"target_modules": ["embed_tokens", "q_proj"]}),
    "head": ("llama", {"target_modules": ["lm_head", "q_proj"]}),
    "transposed": ("gpt2", {"target_modules": ["c_attn", "c_proj"], "fan_in_fan_out": True}),
    "fused": ("phi3", {"target_modules": ["qkv_proj"]}),
    "two-stacks": ("t5", {"target_modules": ["q", "v"]}),
    "classifier": ("bert", {"target_modules": ["query", "value"], "modules_to_save": ["classifier"]}),
}  # fmt: skip


def bits(model: torch.nn.Module) -> dict[str, str]:
    """A sha256 of every parameter and buffer of a model, by name."""
    held = [*model.named_parameters(), *model.named_buffers()]
    return {
        name: hashlib.sha256(tensor.detach().contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()
        for name, tensor in held
        if tensor.numel() and tensor.dim()
    }


@pytest.fixture
def taken(tiny: Tiny, registry: Registry, tmp_path: Path) -> Callable[[str], Version]:
    """An adapter that PEFT itself has made and saved, with factors that change what is said, taken in by the gate."""

    def take(name: str) -> Version:
        model_type, lora = ODD[name]
        base = find_base(str(tiny(model_type)), registry)
        task = CLASSIFY if "modules_to_save" in lora else natural_task(base.config)
        loaded = load_base(base, "float32", task=task, labels=("a", "b") if task is CLASSIFY else ())
        torch.manual_seed(0)
        model = get_peft_model(loaded.model, LoraConfig(r=4, lora_alpha=8, task_type=task.peft, **lora))
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.requires_grad:
                    parameter.normal_(std=0.5)
        model.save_pretrained(tmp_path / name, save_embedding_layers=False)
        (tmp_path / name / "README.md").unlink(missing_ok=True)
        return import_folder(registry, tmp_path / name, name=name, base=base)

    return take


@pytest.mark.parametrize("name", ODD)
def test_the_base_is_what_it_was(name: str, taken: Callable[[str], Version], registry: Registry) -> None:
    version = taken(name)
    base = find_base(version.base.id, registry)
    classifier = "modules_to_save" in ODD[name][1]
    loaded = load_base(
        base,
        "float32",
        task=CLASSIFY if classifier else natural_task(base.config),
        labels=("a", "b") if classifier else (),
    )
    before = bits(loaded.model)
    model = AdapterModel(loaded)
    for _ in range(2):
        model.attach(version.digest, registry.config(version), registry.weights(version))
        with model.using(version.digest) as speaking:
            ids = torch.tensor([[5, 6, 7]])
            more = {"decoder_input_ids": ids} if ODD[name][0] == "t5" else {}
            assert bool(speaking(input_ids=ids, **more).logits.isfinite().all())
        model.detach(version.digest)
        assert bits(loaded.model) == before


@pytest.mark.parametrize("name", [name for name, (kind, _) in ODD.items() if kind == "llama"])
def test_a_server_leaves_its_base_alone(
    name: str, taken: Callable[[str], Version], registry: Registry
) -> None:
    version = taken(name)
    loaded = load_base(find_base(version.base.id, registry), "float32")
    before = bits(loaded.model)
    engine = Engine(loaded, registry)
    try:
        assert ask(engine, version.ref, [5, 6, 7], max_tokens=4).ended
    finally:
        engine.close()
    after = bits(loaded.model)
    assert {key: after[key] for key in before if key in after} == {
        key: before[key] for key in before if key in after
    }
    assert len(set(after) & set(before)) > 10
