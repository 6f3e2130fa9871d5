"""Going on from a version: its factors to begin with, some of its rows again, and what of the old was forgotten.

New data alone makes an adapter forget what it had learned; a tenth of the old rows among the new ones keeps most of
it (experience replay; Scialom et al. 2022, arXiv 2205.12393).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from lftreg.data.origin import examples_of
from lftreg.data.splits import chosen_by_hash
from lftreg.errors import Incompatible, LftregError, UsageError
from lftreg.models.tasks import CLASSIFY, Task
from lftreg.plugins.host import Host
from lftreg.plugins.types import SPLITS, Domain, Example, Split
from lftreg.registry import Registry, Version

SAME = {"rank": "r", "alpha": "lora_alpha"}  # settings that a version has decided, and PEFT's words for them


@dataclass(frozen=True, slots=True)
class Parent:
    """The version that a run goes on from. `replay` is the share of its training rows that are seen again.

    `held_out` are its validation rows, by which forgetting is measured; empty where its data is not to be had.
    """

    version: Version
    weights: Path
    settings: Mapping[str, Any]
    replay: float
    trained: tuple[Example, ...]
    held_out: tuple[Example, ...]
    missing: str | None = None

    @property
    def told(self) -> dict[str, Any]:
        """What is kept of it in a run's settings."""
        return {"ref": self.version.ref, "digest": self.version.digest, "replay": self.replay}


def find_parent(ref: str, replay: float | None, registry: Registry, host: Host) -> Parent:
    """A version, its factors and its data.

    Raises UsageError for a share that is none, InvalidData where rows are to be replayed and the data is not what it
    was, NotFound where it is gone.
    """
    if replay is not None and not 0 <= replay <= 1:
        raise UsageError(f"--replay {replay} makes no sense", "give a share from 0 to 1; 0.1 is usual")
    version = registry.get(ref)
    share = replay or 0.0
    try:
        old = examples_of(version, registry, host)
        missing = None
    except LftregError as error:
        if share:
            error.hint = "put it back, or leave --replay out"
            raise
        old, missing = dict.fromkeys(SPLITS, ()), error.message
    return Parent(
        version,
        registry.weights(version),
        _settings(registry.config(version)),
        share,
        tuple(example for example in old["train"] if chosen_by_hash(example, share)) if share else (),
        old["validation"],
        missing,
    )


def with_replay(domain: Domain, parent: Parent) -> Domain:
    """A domain whose training rows have the parent's among them, but for those that it holds out itself."""

    def build(split: Split, seed: int) -> Iterator[Example]:
        yield from domain.build(split, seed)
        if split == "train" and parent.trained:
            held_out = {e.prompt for other in ("validation", "test") for e in domain.build(other, seed)}
            yield from (example for example in parent.trained if example.prompt not in held_out)

    return replace(domain, build=build)


def check_parent(parent: Parent, fingerprint: str, task: Task, asked: Mapping[str, Any]) -> None:
    """Raises Incompatible for another base or a classifier, UsageError for options that the parent has decided."""
    ref = parent.version.ref
    if parent.version.base.fingerprint != fingerprint:
        raise Incompatible(
            f"{ref} was made for base {parent.version.base.id!r}",
            f"give --base {parent.version.base.id}",
            code="different-base",
        )
    if task is CLASSIFY:
        raise Incompatible("a classifier cannot go on yet: its head is of its own labels", "train it anew")
    for name, value in parent.settings.items():
        if asked.get(name) not in (None, value):
            raise UsageError(
                f"--{name} {asked[name]}, and {ref} has {value}",
                f"leave --{name} out: what goes on keeps its shape",
            )


def fill(model: Any, tensors: Mapping[str, Any], ref: str) -> None:
    """Put a version's factors into a fresh adapter. Raises Incompatible where they are not those of its layers."""
    from peft import set_peft_model_state_dict

    told = set_peft_model_state_dict(model, dict(tensors))
    lacking = [key for key in told.missing_keys if ".lora_" in key]
    if lacking or told.unexpected_keys:
        raise Incompatible(
            f"the factors of {ref} are not those of its layers: {(lacking or told.unexpected_keys)[0]}",
            "`lftreg verify` tells whether its files are whole",
            code="other-layers",
        )


def _settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """What of the settings a parent's PEFT configuration has decided."""
    for key in (
        "use_dora",
        "rank_pattern",
        "alpha_pattern",
        "use_rslora",
        "modules_to_save",
        "layers_to_transform",
        "target_parameters",
        "trainable_token_indices",
    ):
        if config.get(key):
            raise Incompatible(
                f"an adapter with {key} cannot go on yet", "compose it, or train anew", code="not-plain"
            )
    targets = config["target_modules"]
    return {
        **{name: config[key] for name, key in SAME.items()},
        "targets": targets if isinstance(targets, str) else ",".join(sorted(targets)),
    }
