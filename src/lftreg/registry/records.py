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
    """Content that is staged: its sha256, its size in bytes, and the file it lies in until it is registered."""

    sha256: str
    size: int
    staged: Path


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
    """An immutable version of an adapter, with everything known about it.

    `damage` is what `verify` found wrong with its files and rows.
    """

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
    damage: str | None = None

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"

    @property
    def bytes(self) -> int:
        """Size of weights and configuration, attachments apart."""
        return sum(f.size for f in self.files if not f.attachment)


@dataclass(frozen=True, slots=True)
class Listed:
    """What a list tells of a version. `newest` is True for one version of each adapter."""

    name: str
    number: int
    digest: str
    kind: Kind
    domain: str | None
    rank: int
    created_at: datetime
    aliases: tuple[str, ...]
    newest: bool

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(frozen=True, slots=True)
class Draft:
    """A version about to be published. `attachments` maps a file name to its content.

    `weights` is a file to store, or what was streamed into a stage of the store.
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
class Score:
    """One evaluation of one adapter, or of a bare base, on one suite.

    `digest` is the adapter's, or the base's fingerprint where the bare base was asked. `metrics` maps a
    name to its summary (value, base, delta, ci95, ...), `facts` holds what else was found, such as
    contaminated items. `items` is the sha256 of the stored per-item scores; `older` are scores of the same that
    metrics were taken from which this one lacks. Only scores of one
    `suite_digest` and one `decoding_digest` can be ranked together.
    """

    digest: str
    ref: str
    base: Base
    suite: str
    suite_digest: str
    decoding: Mapping[str, Any]
    decoding_digest: str
    n: int
    metrics: Mapping[str, Mapping[str, Any]]
    libraries: Mapping[str, str]
    items: str
    at: datetime
    facts: Mapping[str, Any] = field(default_factory=dict)
    older: tuple[Score, ...] = ()

    @property
    def of_base(self) -> bool:
        return self.digest == self.base.fingerprint


Choice = Literal["it", "other", "tie"]


@dataclass(frozen=True, slots=True)
class Preference:
    """What a person chose between two hidden answers to one item.

    `digest` and `against` are digests of adapters, or a base's fingerprint; `choice` says whose answer was
    taken: `it` (of `digest`), `other` (of `against`) or `tie`. `item` is the item's place in its suite, from 0.
    """

    digest: str
    ref: str
    against: str
    against_ref: str
    suite: str
    suite_digest: str
    decoding_digest: str
    item: int
    choice: Choice
    at: datetime


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
