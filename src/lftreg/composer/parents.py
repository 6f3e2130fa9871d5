"""A parent as its configuration and the header of its file describe it. No tensor is read."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lftreg.composer.settings import Settings, read_settings
from lftreg.errors import Incompatible, InvalidData
from lftreg.models.skeleton import Layer
from lftreg.registry import WEIGHTS, Registry, Version
from lftreg.tensors import TensorInfo, read_header

_KEY = re.compile(
    r"base_model\.model\.(?P<path>.+)\.lora_(?P<part>A\.weight|B\.weight|embedding_A|embedding_B)"
)
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16", "F64": "float32"}

Factors = Mapping[str, TensorInfo]


@dataclass(frozen=True, slots=True)
class Slot:
    """The factors of one layer: A is (rank, inputs) and B is (outputs, rank)."""

    layer: Layer
    rank: int
    scale: float

    @property
    def keys(self) -> tuple[str, str]:
        """The names of A and B in the file."""
        return keys_of(self.layer)


@dataclass(frozen=True, slots=True)
class Parent:
    """A version that goes into a composition, and how much it counts. `slots` are by path."""

    version: Version
    weight: float
    settings: Settings
    slots: Mapping[str, Slot]
    dtype: str
    file: Path

    @property
    def rank(self) -> int:
        return max(slot.rank for slot in self.slots.values())


def keys_of(layer: Layer) -> tuple[str, str]:
    stem = f"base_model.model.{layer.path}.lora_"
    if layer.embedding:
        return f"{stem}embedding_A", f"{stem}embedding_B"
    return f"{stem}A.weight", f"{stem}B.weight"


def read_parent(version: Version, weight: float, registry: Registry) -> Parent:
    """Check that a version can be added up, from its configuration and its header.

    Raises Incompatible with the reason where it cannot, InvalidData where its file is not whole.
    """
    settings = read_settings(registry.config(version), version.ref)
    file = registry.file(version, WEIGHTS)
    tensors = read_header(file).tensors
    slots = read_slots(tensors, settings, version.ref)
    return Parent(version, weight, settings, slots, _dtype(tensors, version.ref), file)


def read_slots(tensors: Mapping[str, TensorInfo], settings: Settings, who: str) -> dict[str, Slot]:
    """The layers that a file adapts, by path, each with the rank and scale that its settings give it."""
    found: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for key, info in tensors.items():
        match = _KEY.fullmatch(key)
        if match is None:
            raise Incompatible(
                f"{who} cannot be composed: its file holds {key}, which is no factor of a LoRA",
                "if it is a copy of the base's embedding, save it again with save_embedding_layers=False",
                code="no-factor",
            )
        found[match["path"]][match["part"]] = info
    if not found:
        raise InvalidData(f"{who} holds no factors", "`lftreg verify` checks its file", code="no-factors")
    return {path: _slot(path, factors, settings, who) for path, factors in sorted(found.items())}


def _slot(path: str, factors: Factors, settings: Settings, who: str) -> Slot:
    embedding = "embedding_A" in factors
    names = {"embedding_A", "embedding_B"} if embedding else {"A.weight", "B.weight"}
    if set(factors) != names:
        raise InvalidData(f"{who} lacks a factor of {path}", "its file is not whole", code="half-missing")
    a, b = (factors[name] for name in sorted(names))
    if len(a.shape) != 2 or len(b.shape) != 2:
        raise Incompatible(
            f"{who} cannot be composed: {path} is a convolution", "only linear layers and embeddings compose"
        )
    rank = settings.rank(path)
    if not a.shape[0] == b.shape[1] == rank:
        raise InvalidData(
            f"{who} has factors of rank {a.shape[0]} and {b.shape[1]} for {path}, its configuration says {rank}",
            "its file and its configuration do not belong together",
            code="rank-mismatch",
        )
    return Slot(Layer(path, a.shape[1], b.shape[0], embedding), rank, settings.scale(path))


def _dtype(tensors: Mapping[str, TensorInfo], who: str) -> str:
    names = {info.dtype for info in tensors.values()}
    if unknown := names - set(_DTYPES):
        raise Incompatible(
            f"{who} holds {unknown.pop()} tensors", "compose float32, float16 or bfloat16 adapters"
        )
    return common_dtype({_DTYPES[name] for name in names})


def common_dtype(names: set[str]) -> str:
    """The one that all have, else float32, which holds each of them exactly."""
    return names.pop() if len(names) == 1 else "float32"
