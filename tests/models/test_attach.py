"""Adapters on one base: switching must leak nothing, not even between threads."""

from __future__ import annotations

import json
import threading
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from lftreg.errors import InvalidData
from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.load import load_base

IDS = torch.tensor([[1, 5, 9, 200, 3]])
# Different targets and ranks: what stacks or leaks in a naive manager shows here.
ADAPTERS = {
    "a": {"r": 4, "target_modules": ["q_proj", "v_proj"]},
    "b": {"r": 8, "target_modules": ["gate_proj", "down_proj"], "lora_alpha": 3},
    "c": {"r": 2, "target_modules": ["q_proj", "o_proj", "up_proj"], "use_rslora": True},
}


@pytest.fixture
def files(tiny_llama: Path, tmp_path: Path) -> dict[str, tuple[dict[str, Any], Path]]:
    """Three random adapters, as configuration and safetensors file."""
    made = {}
    for seed, (name, settings) in enumerate(ADAPTERS.items(), start=1):
        torch.manual_seed(seed)
        config = LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **settings)
        model = get_peft_model(load_base(find_base(str(tiny_llama))).model, config)
        path = tmp_path / f"{name}.safetensors"
        save_file({k: v.contiguous() for k, v in get_peft_model_state_dict(model).items()}, path)
        plain = {k: sorted(v) if isinstance(v, set) else v for k, v in config.to_dict().items()}
        made[name] = (json.loads(json.dumps(plain, default=str)), path)
    return made


@pytest.fixture
def alone(tiny_llama: Path, files: dict[str, Any]) -> dict[str | None, torch.Tensor]:
    """The logits of the base and of each adapter as the only one on a fresh base."""
    expected: dict[str | None, torch.Tensor] = {None: logits(attached(tiny_llama, {}), None)}
    for name, file in files.items():
        expected[name] = logits(attached(tiny_llama, {name: file}), name)
    return expected


def attached(base: Path, files: dict[str, Any]) -> AdapterModel:
    model = AdapterModel(load_base(find_base(str(base))))
    for name, (config, weights) in files.items():
        model.attach(name, config, weights)
    return model


def logits(model: AdapterModel, name: str | None) -> torch.Tensor:
    with model.using(name) as active, torch.inference_mode():
        return active(input_ids=IDS).logits.clone()  # type: ignore[no-any-return]


def test_adapters_differ_from_the_base_and_from_each_other(alone: dict[str | None, torch.Tensor]) -> None:
    names = list(alone)
    for i, one in enumerate(names):
        for other in names[i + 1 :]:
            assert not torch.allclose(alone[one], alone[other], atol=1e-3)


def test_each_answers_as_if_it_were_alone_in_any_order(
    tiny_llama: Path, files: dict[str, Any], alone: dict[str | None, torch.Tensor]
) -> None:
    model = attached(tiny_llama, files)
    for name in ("a", "b", None, "c", "a", None, "b", "c", "c", None):
        assert torch.equal(logits(model, name), alone[name]), name


def test_the_base_is_the_same_to_the_bit_after_all_of_it(tiny_llama: Path, files: dict[str, Any]) -> None:
    before = load_base(find_base(str(tiny_llama))).model.state_dict()
    model = attached(tiny_llama, files)
    for name in files:
        logits(model, name)
    after = {k.replace("base_layer.", ""): v for k, v in model.loaded.model.state_dict().items()}
    for key, tensor in before.items():
        assert torch.equal(tensor, after[key]), key


def test_threads_wait_for_each_other(
    tiny_llama: Path, files: dict[str, Any], alone: dict[str | None, torch.Tensor]
) -> None:
    model = attached(tiny_llama, files)
    wrong: list[str | None] = []

    def ask(name: str | None) -> None:
        for _ in range(10):
            if not torch.equal(logits(model, name), alone[name]):
                wrong.append(name)

    threads = [threading.Thread(target=ask, args=(name,)) for name in (*files, None) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_the_tutorials_manager_really_fails_where_ours_does_not(
    tiny_llama: Path, files: dict[str, Any], alone: dict[str | None, torch.Tensor], tmp_path: Path
) -> None:
    """`adapters[name] = PeftModel.from_pretrained(base, path)`, as many tutorials have it."""
    from peft import PeftModel

    base = load_base(find_base(str(tiny_llama))).model
    manager = {}
    for name, (config, weights) in files.items():
        folder = tmp_path / f"tutorial-{name}"
        folder.mkdir()
        (folder / "adapter_config.json").write_text(json.dumps(config))
        (folder / "adapter_model.safetensors").write_bytes(weights.read_bytes())
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # PEFT does warn; the tutorials do not
            manager[name] = PeftModel.from_pretrained(base, folder)
    with torch.inference_mode():
        answers = {name: model(input_ids=IDS).logits for name, model in manager.items()}
        left = base(input_ids=IDS).logits
    assert not torch.allclose(answers["a"], alone["a"], atol=1e-3)
    assert not torch.allclose(left, alone[None], atol=1e-3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(next(iter(t))), "lacks the tensor"),
        (lambda t: t.update({"base_model.model.lm_head.weight": torch.zeros(8192, 32)}), "base's own weight"),
        (
            lambda t: t.update(
                {"base_model.model.model.layers.9.self_attn.q_proj.lora_A.weight": torch.zeros(4, 32)}
            ),
            "targets do not",
        ),
        (lambda t: t.update({next(iter(t)): torch.zeros(4, 31)}), "does not fit its base"),
    ],
    ids=["missing", "base-key", "wrong-layer", "shape"],
)
def test_a_file_that_does_not_fit_is_refused_and_leaves_no_trace(
    tiny_llama: Path, files: dict[str, Any], alone: dict[str | None, torch.Tensor], change: Any, message: str
) -> None:
    config, weights = files["a"]
    good = attached(tiny_llama, {"b": files["b"]})
    fresh = attached(tiny_llama, {})
    tensors = load_file(weights)
    change(tensors)
    save_file(tensors, weights)
    for model in (good, fresh):
        with pytest.raises(InvalidData, match=message):
            model.attach("a", config, weights)
        assert "a" not in model
        assert torch.equal(logits(model, None), alone[None])
    assert torch.equal(logits(good, "b"), alone["b"])
