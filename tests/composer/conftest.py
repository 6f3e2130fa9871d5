"""Parents of every sort, made by PEFT on small real models, and PEFT's own word for what each of them does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from peft import LoraConfig, PeftModelForCausalLM, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.lora import LoraLayer
from safetensors.torch import load_file, save_file

from lftreg.models.configs import plain_config
from lftreg.registry import WEIGHTS, Base, Draft, Version

from .hand import Hand

if TYPE_CHECKING:
    from lftreg.registry import Registry

# A folder that is not there: whatever composes needs no base.
BASES = {
    "llama": Base("aa" * 32, "/nowhere/tiny-llama", "llama", 1000),
    "gpt2": Base("bb" * 32, "/nowhere/tiny-gpt2", "gpt2", 1000),
}
Tensors = dict[str, torch.Tensor]
Change = Callable[[dict[str, Any], Tensors], None]


def real_model(kind: str) -> Any:
    """The whole base, always with the same weights."""
    from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

    torch.manual_seed(99)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(vocab_size=48, n_embd=16, n_layer=2, n_head=2, n_positions=32))
    return LlamaForCausalLM(
        LlamaConfig(
            vocab_size=48,
            hidden_size=16,
            intermediate_size=24,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=1,
            max_position_embeddings=32,
        )
    )


class Kitchen:
    """Makes parents and tastes results. `base` is a key of BASES."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry = registry
        self._folder = folder

    def parent(
        self,
        name: str,
        seed: int = 1,
        *,
        base: str = "llama",
        record: Base | None = None,
        dtype: torch.dtype = torch.float32,
        change: Change | None = None,
        **lora: Any,
    ) -> Version:
        """Publish an adapter as PEFT makes and saves it; both its factors are random.

        `change` may alter the configuration and the tensors before they are written.
        """
        targets = ["attn.c_attn", "attn.c_proj"] if base == "gpt2" else ["q_proj", "v_proj", "down_proj"]
        settings: dict[str, Any] = {
            "r": 4,
            "lora_alpha": 8,
            "target_modules": targets,
            "init_lora_weights": False,
            "fan_in_fan_out": base == "gpt2",
        } | lora
        model = real_model(base)
        torch.manual_seed(seed)
        peft = PeftModelForCausalLM(model, LoraConfig(task_type="CAUSAL_LM", **settings))
        tensors = get_peft_model_state_dict(peft, save_embedding_layers=False)
        tensors = {key: tensor.to(dtype).contiguous() for key, tensor in tensors.items()}
        record = record or BASES[base]
        config = plain_config(peft.peft_config["default"], record.id)
        if change is not None:
            change(config, tensors)
        file = self._folder / f"{name}-{seed}.safetensors"
        save_file(tensors, file)
        return self.registry.publish(Draft(name, "trained", record, file, config))

    def load(self, version: Version) -> Any:
        """The adapter on its whole base, in float64, as PEFT loads its files; nothing may be missing."""
        config = self.registry.config(version)
        kept = {key: value for key, value in config.items() if key not in ("peft_type", "auto_mapping")}
        model = PeftModelForCausalLM(real_model(version.base.model_type), LoraConfig(**kept)).double()
        loaded = set_peft_model_state_dict(model, load_file(self.registry.file(version, WEIGHTS)))
        assert not loaded.unexpected_keys
        assert not [key for key in loaded.missing_keys if "lora_" in key]
        return model.eval()

    def deltas(self, version: Version) -> Tensors:
        """What an adapter adds to every weight of its base, in full."""
        modules = self.load(version).base_model.model.named_modules()
        with torch.no_grad():
            return {n: m.get_delta_weight("default") for n, m in modules if isinstance(m, LoraLayer)}

    def expected(self, *parents: tuple[Version, float]) -> Tensors:
        """The weighted sum of what the parents add."""
        total: Tensors = {}
        for version, weight in parents:
            for path, delta in self.deltas(version).items():
                total[path] = total.get(path, torch.zeros_like(delta)) + weight * delta
        return total


def distance(made: Tensors, wanted: Tensors) -> float:
    """||made - wanted|| / ||wanted|| over all layers; both have to adapt the same ones."""
    assert set(made) == set(wanted)
    off = sum(float((made[path] - wanted[path]).square().sum()) for path in wanted)
    return (off / sum(float(delta.square().sum()) for delta in wanted.values())) ** 0.5  # type: ignore[no-any-return]


@pytest.fixture
def kitchen(registry: Registry, tmp_path: Path) -> Kitchen:
    return Kitchen(registry, tmp_path)


@pytest.fixture
def hand(registry: Registry, tmp_path: Path) -> Hand:
    return Hand(registry, tmp_path)


@pytest.fixture
def pair(kitchen: Kitchen) -> tuple[Version, Version]:
    """Two plain adapters called a and b."""
    return kitchen.parent("a", 1), kitchen.parent("b", 2)


@pytest.fixture
def config_only(tmp_path: Path) -> Path:
    """A base folder of which only config.json is left."""
    folder = tmp_path / "config-only"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(real_model("llama").config.to_dict(), default=str))
    return folder
