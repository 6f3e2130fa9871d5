"""Adapters for vLLM and Ray Serve LLM: whether they can be served, and the folders that those servers read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from lftreg.errors import CheckFailed, Incompatible, InvalidData, StorageError
from lftreg.outputs import sync_folder, whole_output
from lftreg.registry import CONFIG, WEIGHTS, Registry, Version
from lftreg.registry.content import digest_of
from lftreg.registry.staging import staging
from lftreg.tensors import read_header
from lftreg.tensors.rules import read_config
from lftreg.tensors.vllm import largest_rank, refusals, vllm_rank

INDEX = "lftreg.json"  # beside the folders of Ray's layout, which lists folders only


@dataclass(frozen=True, slots=True)
class Servable:
    """Whether vLLM can serve a version, and why not.

    `max_lora_rank` is the least `--max-lora-rank` that takes it, None where none does.
    """

    vllm: bool
    why: tuple[str, ...]
    max_lora_rank: int | None

    @property
    def document(self) -> dict[str, Any]:
        return {"vllm": self.vllm, "why": list(self.why), "max_lora_rank": self.max_lora_rank}


def servable(registry: Registry, version: Version) -> Servable:
    """What vLLM would say to a version, by its configuration and the header of its weights. No tensor is read.

    Raises CheckFailed where a file is lost.
    """
    config = registry.config(version)
    tensors = read_header(registry.file(version, WEIGHTS)).tensors
    why = refusals(config, tensors, version.base.model_type)
    return Servable(not why, why, vllm_rank(largest_rank(config)))


def check_servable(registry: Registry, version: Version) -> Servable:
    """The same. Raises Incompatible, with every reason, where vLLM would refuse."""
    found = servable(registry, version)
    if not found.vllm:
        raise Incompatible(
            f"vLLM cannot serve {version.ref}: {'; '.join(found.why)}",
            "`lftreg export --format merged` writes a model that it can, where there is one",
            code="not-servable",
        )
    return found


def vllm_folder(registry: Registry, version: Version) -> Path:
    """The folder from which vLLM loads a version: `exports/vllm/<digest>` of the home, made where it is not there.

    It appears whole or not at all, whoever else makes it at the same time, and is held to the digest each time it is
    asked for; a damaged one is made again. Raises CheckFailed where the registry's own files are damaged.
    """
    place = registry.home.exports / "vllm" / version.digest
    if _is_whole(place, version):
        return place
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.parent / ".lock"):
            if not _is_whole(place, version):
                _make(registry, version, place)
    except OSError as error:
        raise StorageError(
            f"{place} cannot be written: {error.strerror or error}", "vLLM needs to write to lftreg's home"
        ) from error
    if not _is_whole(place, version):
        raise CheckFailed(
            f"the stored files of {version.ref} are not what was registered",
            f"`lftreg verify {version.ref}` tells what is wrong",
            code="changed-file",
        )
    return place


def export_ray(registry: Registry, versions: Sequence[Version], output: Path) -> dict[str, Any]:
    """Write what `dynamic_lora_loading_path` of Ray Serve LLM holds: a folder an adapter, named by its LoRA id.

    Clients ask for it as `BASE_MODEL_ID:LORA_ID`. Returns the index that is written beside the folders. Raises
    Incompatible for what vLLM cannot serve and for adapters of several bases, UsageError where `output` is there.
    """
    ranks = [check_servable(registry, version).max_lora_rank or 0 for version in versions]
    bases = {version.base.fingerprint: version.base.id for version in versions}
    if len(bases) > 1:
        raise Incompatible(
            f"the adapters stand on {len(bases)} bases: {', '.join(sorted(bases.values()))}",
            "Ray loads the adapters of one base from one path; export each base to its own",
            code="bases-differ",
        )
    index = {
        "base": {"id": versions[0].base.id, "fingerprint": versions[0].base.fingerprint},
        "max_lora_rank": max(ranks),
        "adapters": [
            {"lora_id": ray_id(version), "ref": version.ref, "digest": f"sha256:{version.digest}"}
            for version in {version.digest + version.name: version for version in versions}.values()
        ],
    }
    with whole_output(output, "folder") as folder:
        folder.mkdir()
        for version in versions:
            shutil.copytree(vllm_folder(registry, version), folder / ray_id(version), dirs_exist_ok=True)
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return index


def ray_id(version: Version) -> str:
    """A name that stays with the content, as Ray keeps what it loaded under it: `support-9f2c01ab34cd`."""
    return f"{version.name}-{version.digest[:12]}"


def _make(registry: Registry, version: Version, place: Path) -> None:
    with staging(registry.home.drafts) as stage:
        made = stage.folder / "whole"
        made.mkdir()
        for name in (CONFIG, WEIGHTS):
            _link(registry.file(version, name), made / name)
        sync_folder(made)
        if place.exists() or place.is_symlink():
            place.rename(stage.folder / "damaged")
        made.rename(place)
        sync_folder(place.parent)


def _link(blob: Path, target: Path) -> None:
    """The blob under another name, which takes no space; a copy where the file system has no such links."""
    try:
        os.link(blob, target)
    except OSError:
        shutil.copyfile(blob, target)
        target.chmod(0o444)


def _is_whole(place: Path, version: Version) -> bool:
    """Whether a folder holds the two files of a version, and nothing that vLLM would read in their place."""
    if (
        place.is_symlink()
        or not place.is_dir()
        or {path.name for path in place.iterdir()} != {CONFIG, WEIGHTS}
    ):
        return False
    if any(path.is_symlink() or not path.is_file() for path in place.iterdir()):
        return False
    with (place / WEIGHTS).open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
    try:
        return digest_of(sha256, read_config((place / CONFIG).read_bytes())) == version.digest
    except InvalidData:
        return False
