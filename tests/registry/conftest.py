from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from lftreg.paths import Home
from lftreg.registry import Base, Draft, Registry
from lftreg.registry.blobs import Blobs
from tests.postgres import Postgres

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


class Late(Blobs):
    """The files of a home, where somebody does something whenever all of them are looked at."""

    def __init__(self, home: Home, do: Callable[[], object]) -> None:
        super().__init__(home)
        self.do = do

    def everything(self) -> Iterator[os.DirEntry[str]]:
        self.do()
        return super().everything()


BOTH = ["sqlite", "postgresql"]
ON_SQLITE = pytest.mark.parametrize(
    "registry", ["sqlite"], indirect=True
)  # what is its own, or asks no database


@pytest.fixture(params=BOTH)
def registry(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """The registry of this test and of the processes it starts; `Registry()` is the same, seen by another."""
    with _on(request, monkeypatch, Postgres.ready) as registry:
        yield registry


@pytest.fixture(params=BOTH)
def fresh(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry that nobody has used, not even its tables are there."""
    with _on(request, monkeypatch, Postgres.new) as registry:
        yield registry


@contextmanager
def _on(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, make: Callable[[Postgres], str]
) -> Iterator[Registry]:
    request.getfixturevalue("home")
    if request.param == "sqlite":
        yield Registry()
        return
    server: Postgres = request.getfixturevalue("postgres")
    name = make(server)
    monkeypatch.setenv("LFTREG_DATABASE_URL", server.url(name))
    with Registry() as registry:
        yield registry
    server.drop(name)
