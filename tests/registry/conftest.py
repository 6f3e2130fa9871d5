from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lftreg.registry import Base, Draft

BASE = Base("f" * 64, "starter", "llama", 15_000_000)


@pytest.fixture
def draft(tmp_path: Path) -> Callable[..., Draft]:
    """Drafts of small real adapters; another `seed` is other content."""

    def make(name: str = "support", seed: int = 0, **fields: Any) -> Draft:
        random = np.random.default_rng(seed)
        weights = tmp_path / f"weights-{seed}.safetensors"
        module = "base_model.model.model.layers.0.self_attn.q_proj"
        save_file(
            {
                f"{module}.lora_A.weight": random.normal(size=(4, 8)).astype("float32"),
                f"{module}.lora_B.weight": random.normal(size=(8, 4)).astype("float32"),
            },
            weights,
        )
        config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
        defaults: dict[str, Any] = {"kind": "trained", "base": BASE, "weights": weights, "config": config}
        return Draft(name, **(defaults | fields))

    return make
