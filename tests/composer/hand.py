"""Adapters made by PEFT on a base in a folder, and what PEFT itself merges of the two."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM

from lftreg.composer.fuse import fuse
from lftreg.models.base import find_base
from lftreg.models.configs import plain_config
from lftreg.registry import CONFIG, WEIGHTS, Draft, Version

if TYPE_CHECKING:
    from lftreg.registry import Registry

LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


class Hand:
    """Makes adapters with PEFT on a base and puts them into a registry."""

    def __init__(self, registry: Registry, folder: Path) -> None:
        self.registry, self.folder = registry, folder

    def adapter(self, base: Path, targets: list[str], *, seed: int = 1, **lora: Any) -> Version:
        torch.manual_seed(seed)
        settings: dict[str, Any] = {"r": 4, "lora_alpha": 8, "init_lora_weights": False} | lora
        model = AutoModelForCausalLM.from_pretrained(base)
        config = LoraConfig(task_type="CAUSAL_LM", target_modules=targets, **settings)
        peft = get_peft_model(model, config)
        saved = self.folder / f"adapter-{seed}"
        peft.save_pretrained(str(saved), save_embedding_layers=False)
        record = find_base(str(base), self.registry).record
        return self.registry.publish(
            Draft(
                "one",
                "trained",
                record,
                saved / WEIGHTS,
                plain_config(peft.peft_config["default"], str(base)),
            )
        )

    def merged(self, base: Path, version: Version) -> Any:
        """PEFT's own word for it."""
        folder = self.folder / "for-peft"
        folder.mkdir(exist_ok=True)
        for name in (WEIGHTS, CONFIG):
            (folder / name).write_bytes(self.registry.read(version, name))
        model = AutoModelForCausalLM.from_pretrained(base)
        return PeftModel.from_pretrained(model, str(folder)).merge_and_unload()

    def fuse(self, version: Version) -> Path:
        return fuse(version, self.registry, self.folder / "out").folder

    def changed(self, version: Version, **settings: Any) -> Version:
        """The same file under another configuration."""
        config = self.registry.config(version) | settings
        return self.registry.publish(
            Draft("one", "imported", version.base, self.registry.file(version, WEIGHTS), config)
        )
