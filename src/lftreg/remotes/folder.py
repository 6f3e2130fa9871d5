"""Adapters as folders: what PEFT writes and reads."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from lftreg.models.base import FoundBase
from lftreg.models.shapes import shapes_of
from lftreg.outputs import whole_output
from lftreg.registry import CONFIG, WEIGHTS, Base, Draft, Recipe, Registry, Version
from lftreg.registry.staging import Stage
from lftreg.remotes.card import CARD, write_card
from lftreg.remotes.leaks import refuse_secrets
from lftreg.tensors import Checked, admit_file, settings_of


def export_folder(registry: Registry, version: Version, output: Path) -> Path:
    """Write weights, configuration and a model card to a new folder, which appears whole or not at all.

    Raises UsageError where something is there already, CheckFailed where a stored file has changed, InvalidData where
    the card would hold a token.
    """
    card = write_card(version, registry).encode()
    refuse_secrets({CARD: card})
    with whole_output(output, "folder") as folder:
        folder.mkdir()
        registry.config(version)  # which is held to its sha256, as the weights are
        for name, file in ((CONFIG, registry.file(version, CONFIG)), (WEIGHTS, registry.weights(version))):
            shutil.copyfile(file, folder / name)
        (folder / CARD).write_bytes(card)
    return output


def import_folder(
    registry: Registry,
    path: Path,
    *,
    name: str,
    base: Base | FoundBase,
    attachments: Mapping[str, bytes] | None = None,
    tags: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
    domain: str | None = None,
) -> Version:
    """Take in a PEFT folder through the gate. The checks run on a private copy, which is what is stored.

    `recipe` and `domain` are what a manifest beside it says. Given a base that was found on this disk, factors are
    held to its shapes. Raises NotFound for a folder without an adapter and InvalidData, with a code, for one to refuse.
    """
    registry.check_name(name)
    record, shapes = (base, None) if isinstance(base, Base) else (base.record, shapes_of(base))
    settings = settings_of(path)  # most of what is refused is refused before anything is written
    with registry.blobs.staging() as stage:
        checked = admit_file(path / WEIGHTS, settings, stage.folder / WEIGHTS, shapes)
        draft = Draft(name, "imported", record, checked.weights, checked.config, domain=domain, recipe=recipe)
        return register(
            registry, stage, checked, replace(draft, attachments=attachments or {}, tags=tags or {})
        )


def register(registry: Registry, stage: Stage, checked: Checked, draft: Draft) -> Version:
    """Register what the gate let pass, whose copy on the stage becomes the stored file."""
    weights = stage.adopt(checked.weights, checked.sha256, checked.size)
    config = dict(checked.config) | {"base_model_name_or_path": draft.base.id}
    return registry.publish(replace(draft, weights=weights, config=config))
