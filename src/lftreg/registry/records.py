"""What the registry gives back: frozen records, free of SQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

Kind = Literal["trained", "composed", "imported"]

WEIGHTS = "adapter_model.safetensors"
CONFIG = "adapter_config.json"


@dataclass(frozen=True, slots=True)
class Base:
    """A base model, known by its content.

    `fingerprint` is a sha256 over its configuration and weights; `id` is how it was named: `starter`,
    a hub id or a folder. `parameters` counts all of them.
    """

    fingerprint: str
    id: str
    model_type: str
    parameters: int


@dataclass(frozen=True, slots=True)
class Blob:
    """Content that is stored already: its sha256, and its size in bytes."""

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class File:
    """One stored file of a version. `attachment` is True for what the digest leaves out."""

    name: str
    sha256: str
    size: int
    attachment: bool


@dataclass(frozen=True, slots=True)
class Run:
    """What made a trained version.

    `losses` are nats a supervised token: train_first, train_last, validation_before,
    validation_after; of a run that went on from another version also old_before and old_after, the validation
    loss of that version's own data. `examples` counts rows by split, `tokens` all tokens that were trained on.
    """

    seed: int
    data_digest: str
    settings: Mapping[str, Any]
    libraries: Mapping[str, str]
    losses: Mapping[str, float]
    examples: Mapping[str, int]
    tokens: int
    seconds: float

    @property
    def parent(self) -> Parent | None:
        """The version that training went on from, if it did not begin with fresh factors."""
        told = self.settings.get("parent")
        return None if not told else Parent(told["ref"], told["digest"], 1.0)


@dataclass(frozen=True, slots=True)
class Parent:
    """One ingredient of a composition, as the user named it and as it was."""

    ref: str
    digest: str
    weight: float


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a composed version was made; `relative_error` is measured on the written file."""

    method: str
    options: Mapping[str, Any]
    parents: tuple[Parent, ...]
    relative_error: float | None = None


@dataclass(frozen=True, slots=True)
class Version:
    """An immutable version of an adapter, with everything known about it."""

    name: str
    number: int
    digest: str
    kind: Kind
    base: Base
    domain: str | None
    rank: int
    alpha: float
    target_modules: tuple[str, ...]
    trainable_parameters: int
    created_at: datetime
    files: tuple[File, ...] = ()
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None
    recipe: Recipe | None = None
    removed_at: datetime | None = None

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def bytes(self) -> int:
        """Size of weights and configuration, attachments apart."""
        return sum(f.size for f in self.files if not f.attachment)


@dataclass(frozen=True, slots=True)
class Draft:
    """A version about to be published. `attachments` maps a file name to its content.

    `weights` is a file to store, or what was streamed into the store.
    """

    name: str
    kind: Kind
    base: Base
    weights: Path | Blob
    config: Mapping[str, Any]
    domain: str | None = None
    attachments: Mapping[str, bytes] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    run: Run | None = None
    recipe: Recipe | None = None


@dataclass(frozen=True, slots=True)
class Lineage:
    """A version and what it was made from, down to the versions that were trained or imported."""

    version: Version | None
    ref: str
    digest: str
    weight: float | None = None
    parents: tuple[Lineage, ...] = ()


@dataclass(frozen=True, slots=True)
class AliasMove:
    """One entry of an alias's history; `number` is None where the alias was taken away."""

    name: str
    alias: str
    number: int | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `verify` found wrong with a version."""

    ref: str
    code: str
    message: str
