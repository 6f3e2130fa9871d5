"""A parent as its configuration and the header of its file describe it. No tensor is read."""

from __future__ import annotations

import math
import re
import sys
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from lftreg.composer.settings import Settings, read_settings
from lftreg.errors import Incompatible, InvalidData
from lftreg.models.skeleton import Layer
from lftreg.registry import WEIGHTS, Registry, Version
from lftreg.registry.content import changed
from lftreg.tensors import Header, TensorInfo, read_header
from lftreg.tensors.header import MOST_TENSORS

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
    """A version that goes into a composition, and how much it counts. `slots` are by path.

    `weight` is as it was typed; `varied` holds what it is in each layer, where that is something else.
    """

    version: Version
    weight: float
    settings: Settings
    slots: Mapping[str, Slot]
    dtype: str
    file: Path
    header: Header
    varied: Mapping[str, float] = field(default_factory=dict)

    def at(self, path: str) -> float:
        """Its weight in a layer."""
        return self.varied.get(path, self.weight)

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
    try:
        header = read_header(file)
    except InvalidData as error:  # it was whole when it was registered
        raise changed(WEIGHTS, version) from error
    slots = read_slots(header.tensors, settings, version.ref)
    return Parent(version, weight, settings, slots, _dtype(header.tensors, version.ref), file, header)


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
        found[sys.intern(match["path"])][match["part"]] = info
    if not found:
        raise InvalidData(f"{who} holds no factors", "`lftreg verify` checks its file", code="no-factors")
    return {path: _slot(path, factors, settings, who) for path, factors in sorted(found.items())}


def _slot(path: str, factors: Factors, settings: Settings, who: str) -> Slot:
    embedding = "embedding_A" in factors
    names = {"embedding_A", "embedding_B"} if embedding else {"A.weight", "B.weight"}
    if set(factors) != names:
        raise InvalidData(f"{who} lacks a factor of {path}", "its file is not whole", code="half-missing")
    a, b = (factors[name] for name in sorted(names))
    kernel = a.shape[2:]
    if not 2 <= len(a.shape) <= 5 or b.shape[2:] != tuple(1 for _ in kernel):
        raise InvalidData(
            f"{who} has factors of shapes {a.shape} and {b.shape} for {path}",
            "its file is not that of a LoRA",
            code="shapes",
        )
    rank = settings.rank(path)
    if not a.shape[0] == b.shape[1] == rank:
        raise InvalidData(
            f"{who} has factors of rank {a.shape[0]} and {b.shape[1]} for {path}, its configuration says {rank}",
            "its file and its configuration do not belong together",
            code="rank-mismatch",
        )
    inputs = a.shape[1] * math.prod(kernel)
    return Slot(_layer(path, inputs, b.shape[0], embedding, kernel), rank, settings.scale(path))


@lru_cache(maxsize=MOST_TENSORS)
def _layer(path: str, inputs: int, outputs: int, embedding: bool, kernel: tuple[int, ...]) -> Layer:
    """The same layer of a hundred parents is kept once."""
    return Layer(path, inputs, outputs, embedding, kernel)


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
