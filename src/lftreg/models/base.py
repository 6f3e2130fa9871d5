"""Finding a base model and knowing it by its content. No torch, no weights read into memory."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.errors import InvalidData, LftregError, NotFound, StorageError, TokenNeeded, Unavailable
from lftreg.paths import starter_folder
from lftreg.registry.records import Base

if TYPE_CHECKING:
    from lftreg.registry import Registry

STARTER = "starter"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(@[\w./-]+)?")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# What a base needs to run: never its pickles, and its code only where it is trusted.
SMALL_FILES = ("*.json", "*.jinja", "tokenizer.model", "merges.txt", "vocab.txt")
WEIGHTS = ("*.safetensors",)
CODE = ("*.py",)
# Keys of config.json that say who wrote it, not what the model computes.
_NOT_THE_MODEL = {"_name_or_path", "transformers_version", "torch_dtype", "dtype", "use_cache"}


@dataclass(frozen=True, slots=True)
class FoundBase:
    """A base model on this disk: what the registry knows it as, and the folder to load.

    `code` says that it cannot be built without Python of its own, which its user trusts.
    """

    record: Base
    folder: Path
    code: bool = False

    @property
    def config(self) -> dict[str, Any]:
        return _read_config(self.folder, self.record.id)


def find_base(
    spec: str, registry: Registry | None = None, *, trust_code: bool = False, download: bool = True
) -> FoundBase:
    """The base that `spec` names: `starter`, a folder, or a hub id with an optional `@revision`.

    Without `download` nothing is fetched: what is not on this disk is Unavailable. Hashing a folder is done once:
    `registry` remembers the fingerprint of what the folder looked like. Raises NotFound, InvalidData (no safetensors
    weights, a broken config) or Unavailable (not cached and no network, or Python of its own without `trust_code`).
    """
    folder, name = _folder_of(spec, trust_code, weights=True, download=download)
    try:
        return _identify(folder, name, registry, trust_code)
    except OSError as error:
        reason = error.strerror or str(error)
        raise StorageError(
            f"base {spec!r} cannot be read: {reason}", "check the folder's permissions"
        ) from error


def read_base(spec: str, *, trust_code: bool = False) -> tuple[str, Path, dict[str, Any], bool]:
    """What `config.json` says of a base: its id, its folder, the configuration, whether it needs its own Python.

    Of a hub model nothing but small files is downloaded, and no weight is read, so it has no fingerprint.
    Raises what `find_base` raises.
    """
    folder, name = _folder_of(spec, trust_code, weights=False)
    try:
        config = _read_config(folder, name)
    except OSError as error:
        raise StorageError(
            f"base {spec!r} cannot be read: {error.strerror}", "check its config.json"
        ) from error
    return name, folder, config, _checked_code(config, name, trust_code)


def same_base(expected: Base, registry: Registry | None = None, *, trust_code: bool = False) -> FoundBase:
    """The base of an adapter, found again by its id, and proven to be the same one."""
    found = find_base(expected.id, registry, trust_code=trust_code)
    if found.record.fingerprint != expected.fingerprint:
        raise NotFound(
            f"base {expected.id!r} has changed: its fingerprint is {found.record.fingerprint[:12]}, "
            f"the adapter was made for {expected.fingerprint[:12]}",
            "bring the old base back, or train the adapter again on this one",
            code="base-changed",
        )
    return found


def weight_files(folder: Path, name: str) -> list[Path]:
    """The safetensors files of a model, whole or sharded; where there are both, transformers takes the whole.

    Raises InvalidData where there are only pickles, which lftreg never opens.
    """
    single = folder / "model.safetensors"
    if single.is_file():
        return [single]
    index = folder / "model.safetensors.index.json"
    if index.is_file():
        try:
            shards = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
            files = [folder / Path(shard).name for shard in shards]
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise InvalidData(
                f"base {name!r}: {index.name} cannot be read: {error}", "get the file again"
            ) from error
        if lacking := [path.name for path in files if not path.exists()]:
            raise NotFound(
                f"base {name!r} lacks {lacking[0]}, which {index.name} names",
                "is it a whole model folder? get the missing file",
                code="missing-shard",
            )
        return files
    if any(folder.glob("pytorch_model*.bin")):
        raise InvalidData(
            f"base {name!r} has only pickled weights (pytorch_model.bin), which can run code when opened",
            "convert it: AutoModelForCausalLM.from_pretrained(...).save_pretrained(FOLDER) writes safetensors",
            code="pickled-base",
        )
    raise NotFound(f"base {name!r} has no model.safetensors in {folder}", "is it a whole model folder?")


def _folder_of(spec: str, trust_code: bool, *, weights: bool, download: bool = True) -> tuple[Path, str]:
    if spec == STARTER:
        return starter_folder(), STARTER
    local = Path(spec).expanduser()
    if local.is_dir():
        return local.absolute(), str(local.absolute())
    if spec.startswith((".", "/", "~")):
        raise NotFound(
            f"no base model folder at {spec}", "give a folder with config.json and model.safetensors"
        )
    if not _HUB_ID.fullmatch(spec):
        raise NotFound(f"{spec!r} is no base", "use `starter`, a folder, or a hub id such as org/model")
    return _hub_snapshot(
        spec, [*SMALL_FILES, *(WEIGHTS if weights else ()), *(CODE if trust_code else ())], download
    ), spec


def _hub_snapshot(spec: str, files: list[str], download: bool) -> Path:
    """The cached snapshot of a hub model; downloaded only where what is wanted of it is not cached."""
    from huggingface_hub import errors as hub
    from huggingface_hub import snapshot_download

    repo, _, revision = spec.partition("@")
    wanted: dict[str, Any] = {"revision": revision or None, "allow_patterns": files}
    try:
        cached = Path(snapshot_download(repo, local_files_only=True, **wanted))
        if _holds(cached, files):
            return cached
    except (hub.LocalEntryNotFoundError, hub.RepositoryNotFoundError, OSError, ValueError):
        pass  # not cached: ask the hub
    if not download:
        raise Unavailable(
            f"base {spec!r} is not on this disk", f"--base {spec} fetches it", code="base-not-here"
        )
    try:
        fetched = Path(snapshot_download(repo, **wanted))
    except hub.GatedRepoError as error:
        raise TokenNeeded(
            f"base {repo!r} is gated", "accept its terms on the hub, then `hf auth login`"
        ) from error
    except (hub.RepositoryNotFoundError, hub.RevisionNotFoundError) as error:
        raise NotFound(
            f"the hub has no model {spec!r}", "a folder works too; `starter` is built in"
        ) from error
    except (hub.HfHubHTTPError, hub.LocalEntryNotFoundError, OSError, ValueError) as error:
        raise Unavailable(
            f"base {spec!r} is not in the local cache and the hub cannot be reached",
            "go online once, or give a folder; `--base starter` needs no network",
        ) from error
    if not _holds(fetched, files):  # offline, the hub's library gives whatever it has
        raise Unavailable(
            f"base {spec!r} is in the local cache only in part, and the hub gave no more of it",
            "go online once; a model that has no safetensors weights there has to be converted first",
            code="partial-base",
        )
    return fetched


def _holds(snapshot: Path, files: list[str]) -> bool:
    """Whether a cached snapshot has all that is wanted: an earlier command may have needed less."""
    if not (snapshot / "config.json").exists():
        return False
    brings_code = set(CODE) <= set(files) and "auto_map" in _read_config(snapshot, snapshot.name)
    if brings_code and not any(snapshot.glob(CODE[0])):
        return False
    if not set(WEIGHTS) <= set(files):
        return True
    try:
        return all(path.exists() for path in weight_files(snapshot, snapshot.name))
    except LftregError:
        return False


def _identify(folder: Path, name: str, registry: Registry | None, trust_code: bool) -> FoundBase:
    config = _read_config(folder, name)
    code = _checked_code(config, name, trust_code)
    files = weight_files(folder, name) + (sorted(folder.rglob("*.py")) if code else [])
    signature = _signature(folder, files)
    known = registry.fingerprint_of(signature) if registry is not None else None
    if known is None:
        known = _fingerprint(config, files, name)
        if registry is not None:
            with contextlib.suppress(StorageError):  # a home that is only read hashes again next time
                registry.remember_fingerprint(signature, known)
    return FoundBase(Base(known.fingerprint, name, known.model_type, known.parameters), folder, code)


def _checked_code(config: Mapping[str, Any], name: str, trust_code: bool) -> bool:
    """Whether a base needs its own Python. Raises Unavailable where that is not trusted."""
    code = _needs_code(config)
    if code and not trust_code:
        raise Unavailable(
            f"base {name!r} needs Python code that comes with it",
            "read that code; --trust-remote-code runs it",
            code="remote-code",
        )
    if code and "--" in json.dumps(config["auto_map"]):
        raise Unavailable(
            f"base {name!r} wants Python code of another repository, which its fingerprint would not cover",
            "copy that code into the base's folder, read it, and name it in auto_map",
            code="foreign-code",
        )
    return code


def _needs_code(config: Mapping[str, Any]) -> bool:
    """Whether a base cannot be built without its own Python. Many that bring some are known by now."""
    if "auto_map" not in config:
        return False
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return config["model_type"] not in CONFIG_MAPPING_NAMES


def _read_config(folder: Path, name: str) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.exists():
        raise NotFound(f"base {name!r} has no config.json in {folder}", "is it a model folder?")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidData(f"{path} is not JSON: {error}", "the base's folder is damaged") from error
    if not isinstance(config, dict) or not isinstance(config.get("model_type"), str):
        raise InvalidData(f"{path} names no model_type", "is it the config.json of a transformers model?")
    return config


def _signature(folder: Path, files: list[Path]) -> str:
    """What the folder looks like from outside: changes whenever a file is written."""
    seen: list[Any] = [str(folder)]
    for path in [folder / "config.json", *files]:
        stat = path.stat()
        seen.append([path.name, stat.st_size, stat.st_mtime_ns, stat.st_ino])
    return hashlib.sha256(json.dumps(seen).encode()).hexdigest()


def _fingerprint(config: Mapping[str, Any], files: list[Path], name: str) -> Base:
    from lftreg.tensors import read_header

    computed = {key: value for key, value in config.items() if key not in _NOT_THE_MODEL}
    digest = hashlib.sha256(json.dumps(computed, sort_keys=True, separators=(",", ":")).encode())
    parameters = 0
    for path in files:
        digest.update(_sha256(path).encode())
        if path.suffix == ".safetensors":
            parameters += sum(info.count for info in read_header(path).tensors.values())
    return Base(digest.hexdigest(), name, config["model_type"], parameters)


def _sha256(path: Path) -> str:
    """A hub cache names the content of large files by their sha256 already."""
    target = os.path.realpath(path)
    if path.is_symlink() and _SHA256.fullmatch(Path(target).name):
        return Path(target).name
    with Path(target).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
