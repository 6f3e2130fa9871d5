"""A registry with real adapters of the embedded base. Needs lftreg; what needs vLLM says so by itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lftreg.models.base import find_base
from lftreg.paths import Home, starter_folder
from lftreg.registry import Draft, Registry, Version
from lftreg_vllm.desk import BASE, Desk

os.environ["HF_HUB_OFFLINE"] = "1"

CONFIG: dict[str, Any] = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
WIDTH = 384  # of the embedded base
Publish = Callable[..., Version]


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    home = tmp_path / "home"
    for name in [name for name in os.environ if name.startswith("LFTREG_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("LFTREG_HOME", str(home))
    monkeypatch.delenv(BASE, raising=False)
    return Registry(Home(home))


@pytest.fixture
def desk(registry: Registry) -> Desk:
    """As vLLM has it: it opens the registry by itself, in a thread of its own."""
    return Desk()


@pytest.fixture
def served() -> str:
    """The embedded base as vLLM is given it: a folder."""
    return str(starter_folder())


@pytest.fixture
def publish(registry: Registry, tmp_path: Path) -> Publish:
    """Register an adapter; `seed` makes its content, `rank` its rank, keywords change its configuration."""

    def put(
        name: str = "support", *, seed: int = 0, rank: int = 4, base: Any = None, **config: Any
    ) -> Version:
        draw = np.random.default_rng(seed)
        stem = "base_model.model.model.layers.0.self_attn.q_proj"
        weights = tmp_path / f"{name}-{seed}-{rank}.safetensors"
        save_file(
            {
                f"{stem}.lora_A.weight": draw.normal(size=(rank, WIDTH)).astype(np.float32),
                f"{stem}.lora_B.weight": draw.normal(size=(WIDTH, rank)).astype(np.float32),
            },
            weights,
        )
        record = base or find_base("starter", registry).record
        return registry.publish(Draft(name, "trained", record, weights, CONFIG | {"r": rank} | config))

    return put
