"""Pushing and pulling in tests: little patience, and a home for whoever takes part."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from safetensors.numpy import save_file

from lftreg.errors import LftregError
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.plugins.types import Patience, Sent
from lftreg.registry import Base, Draft, Registry, Run, Version
from lftreg.remotes import sharing
from lftreg.remotes.manifest import MANIFEST

SOON = Patience(connect=1.0, silence=0.4, whole=8.0, tries=4, pause=0.01, longest=0.05)
REPO = "our-desk/support"
FILES = {"adapter_model.safetensors", "adapter_config.json", "README.md", MANIFEST}
LITTLE = "org/little-base"  # in the hub's cache of `tests.hub.conftest.base`
CONFIG = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
RUN = Run(
    3, "d" * 64, {"rank": 4, "source": {"data": ["/home/somebody/inbox.jsonl"], "map": []}}, {"torch": "2"},
    {"train_first": 4.0, "train_last": 0.5}, {"train": 600, "validation": 100}, 36_000, 58.5,
)  # fmt: skip
HOST = Host(off=(), external=False)


def registry_at(folder: Path, *bases: Base) -> Registry:
    """Somebody's registry, that knows these bases."""
    registry = Registry(Home(folder))
    for base in bases:
        registry.remember_base(base)
    return registry


def make(
    registry: Registry, folder: Path, name: str = "support", seed: int = 0, *, base: Base, **fields: Any
) -> Version:
    """A small adapter in a registry, of the shapes of the little base; `seed` makes its content."""
    draw = numpy.random.default_rng(seed)
    folder.mkdir(exist_ok=True)
    weights = folder / f"{name}-{seed}.safetensors"
    factors = {}
    for layer in (0, 1):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        factors[f"{stem}.lora_A.weight"] = draw.normal(size=(4, 32)).astype(numpy.float32)
        factors[f"{stem}.lora_B.weight"] = draw.normal(size=(32, 4)).astype(numpy.float32)
    save_file(factors, weights)
    given: dict[str, Any] = {
        "kind": "trained",
        "base": base,
        "config": CONFIG | {"base_model_name_or_path": base.id},
        "run": RUN,
    } | fields
    return registry.publish(Draft(name=name, weights=weights, **given))


def push(registry: Registry, version: Version, place: str, **options: Any) -> Sent:
    patience = options.pop("patience", SOON)
    sent, _ = sharing.push(registry, version, sharing.parse_place(place), HOST, patience=patience, **options)
    return sent


def pull(registry: Registry, place: str, **options: Any) -> sharing.Pulled:
    patience = options.pop("patience", SOON)
    return sharing.pull(registry, sharing.parse_place(place), HOST, patience=patience, **options)


def brief(**fields: Any) -> Patience:
    return replace(SOON, **fields)


def code(error: pytest.ExceptionInfo[LftregError]) -> str:
    """The code of an error that was raised."""
    return error.value.code
