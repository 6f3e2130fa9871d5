"""The gate: what an adapter from outside must be before anything else sees it.

Nothing is unpickled, imported or resolved because of the data. Files are copied first, and the copy is what is checked
and kept; the configuration is strict JSON of known settings; tensors may only be the factors of the modules that the
configuration declares, in the shapes that these have on the base, and finite.
"""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lftreg.errors import InvalidData, NotFound, StorageError
from lftreg.tensors.header import Header, TensorInfo
from lftreg.tensors.private import copy, header_of_handle, opened_regular, read_private, refuse_changed
from lftreg.tensors.rules import (
    CLASSIFIER_HEADS,
    LARGEST_CONFIG,
    check_settings,
    check_work,
    is_classifier,
    known,
    rank_of,
    read_config,
    refuse,
)
from lftreg.tensors.shapes import Shapes

WEIGHTS, CONFIG = "adapter_model.safetensors", "adapter_config.json"
PICKLES = ("adapter_model.bin", "adapter_model.pt", "pytorch_model.bin")
CODE = (".py", ".pyc", ".pyd", ".so", ".dll", ".dylib", ".sh", ".pth")
MOST_ENTRIES = 10_000  # names in a folder that are looked at
_HEAD = re.compile(
    rf"base_model\.model\.(\w+\.)?(?P<head>{'|'.join(CLASSIFIER_HEADS)})(\.\w+)?\.(weight|bias)"
)
_KEY = re.compile(
    r"base_model\.model\.(?P<module>\w+(?:\.\w+)*)\."
    r"(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B|lora_magnitude_vector(\.weight)?)"
)
_SIDES = (("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B"))
# PEFT's own places within a module, those of the base among them.
_INNER = frozenset({"original_module", "modules_to_save", "base_layer"})


@dataclass(frozen=True, slots=True)
class Checked:
    """An adapter that may come in: its weights, their sha256 and size, and its configuration, with modules by name."""

    weights: Path
    config: Mapping[str, Any]
    sha256: str
    size: int


def admit(folder: Path, scratch: Path, shapes: Shapes | None = None) -> Checked:
    """Take an adapter of somebody else's through the gate: a copy of it in `scratch` is checked, and given back.

    `folder` is one as PEFT writes it. `shapes` are those of the base it is for; without them factors are held to one
    another only. Raises InvalidData with a code for each fault, NotFound where there is no adapter.
    """
    settings = settings_of(folder)
    return admit_file(folder / WEIGHTS, settings, scratch / WEIGHTS, shapes)


def settings_of(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter in a folder, held to the rules, before anything is known of its base."""
    _check_neighbours(folder)
    settings = read_config(read_private(folder / CONFIG, LARGEST_CONFIG, "config-size"), CONFIG)
    check_settings(settings)
    return settings


def admit_file(
    weights: Path, settings: Mapping[str, Any], target: Path | None, shapes: Shapes | None = None
) -> Checked:
    """Check weights against settings that `check_settings` has let pass, and copy them to `target`, if one is given."""
    with opened_regular(weights) as (handle, seen):
        header = header_of_handle(handle, seen.st_size, weights)
        modules = _check_tensors(header, settings, shapes)
        sha256 = copy(handle, seen, weights, target, header.tensors)
    if target is not None:  # the header that was checked is that of the copy
        with opened_regular(target) as (handle, kept):
            if header_of_handle(handle, kept.st_size, target) != header:
                refuse_changed(weights)
    if isinstance(
        settings["target_modules"], str
    ):  # a stranger's pattern is never run: its matches are known
        settings = {**settings, "target_modules": sorted(modules)}
    return Checked(target or weights, known(settings), sha256, seen.st_size)


def check_adapter(weights: Path, config: Path, shapes: Shapes | None = None) -> Checked:
    """Check two files where they lie: for those that nobody else can write to. Raises what `admit` raises."""
    settings = read_config(read_private(config, LARGEST_CONFIG, "config-size"), config.name)
    check_settings(settings)
    return admit_file(weights, settings, None, shapes)


def is_head(key: str, settings: Mapping[str, Any]) -> bool:
    """Whether a tensor of a file belongs to a head that the configuration of a classifier declares."""
    found = _HEAD.fullmatch(key)
    if found is None or not is_classifier(settings) or _INNER & set(key.split(".")):
        return False
    return found["head"] in settings["modules_to_save"]


def _check_neighbours(folder: Path) -> None:
    """Refuse pickles and code beside an adapter: whoever uses the folder otherwise would run them."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry, _ in zip(entries, range(MOST_ENTRIES + 1), strict=False)]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise NotFound(
            f"there is no folder {folder}", "give the folder that holds adapter_config.json"
        ) from error
    except OSError as error:
        raise StorageError(f"{folder} cannot be read: {error.strerror}", "check its permissions") from error
    if len(names) > MOST_ENTRIES:
        raise InvalidData(
            f"{folder.name!r:.120} holds more than {MOST_ENTRIES:,} files, too many to look through",
            "copy the adapter's two files into a folder of their own",
            code="too-many-files",
        )
    pickled = next((name for name in PICKLES if name in names), None)
    if pickled is not None:
        beside = WEIGHTS in names
        raise InvalidData(
            f"{pickled} is a pickle, which can run code when it is opened",
            f"remove it if you trust {WEIGHTS}, which says the same"
            if beside
            else "save the adapter again with safe_serialization; only safetensors comes in",
            code="pickle-beside" if beside else "pickle",
        )
    code = next((name for name in sorted(names) if name.lower().endswith(CODE)), None)
    if code is not None:
        raise InvalidData(
            f"{code!r:.120} is code, and an adapter has none", "remove it if you trust the rest", code="code"
        )


def _check_tensors(header: Header, settings: Mapping[str, Any], shapes: Shapes | None) -> set[str]:
    """The modules that a file adapts, each of them declared, whole and of the right shape."""
    modules = _modules(header.tensors, settings)
    if is_classifier(settings):
        _check_labels(header, settings, shapes)
    if not modules:
        refuse("the adapter holds no factors", "no-factors")
    check_work(settings, len(modules))
    targets = _targets(settings)
    for module, parts in modules.items():
        if targets is not None and not _is_target(module, targets):
            refuse(f"the file adapts {module:.120}, which target_modules does not name", "undeclared-module")
        _check_module(module, parts, settings)
        if shapes is not None:
            _check_shape(module, parts, shapes)
    if shapes is not None:
        _check_whole(set(modules), targets, shapes)
    return set(modules)


def _check_labels(header: Header, settings: Mapping[str, Any], shapes: Shapes | None) -> None:
    """A classifier has a head, and where its file names labels, one for each of the head's rows."""
    heads = {key: info.shape for key, info in header.tensors.items() if is_head(key, settings) and info.shape}
    rows = [shape[0] for shape in heads.values()]
    if not rows:
        refuse("the adapter is a classifier and brings no head", "half-missing")
    for key, shape in heads.items():
        if len(shape) > 2 or (shapes is not None and len(shape) == 2 and shape[1] not in shapes.widths):
            refuse(f"{key:.120} has shape {shape}, which fits no layer of the base", "head-shape")
    if "labels" not in header.metadata:
        return
    try:
        labels = json.loads(header.metadata["labels"])
    except (ValueError, TypeError, RecursionError):
        labels = None
    words = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    if not words or len(set(labels)) != len(labels) or len(labels) not in rows:
        refuse("the adapter names labels that are not those of its head", "labels")


def _modules(
    tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any]
) -> dict[str, dict[str, TensorInfo]]:
    modules: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for key, info in tensors.items():
        if is_head(key, settings):
            continue
        found = _KEY.fullmatch(key)
        parts = key.split(".")
        if found is not None and not _INNER & set(parts):
            modules[found["module"]][found["part"]] = info
        elif "base_layer" in parts:
            refuse(f"the file holds {key!r:.120}, a weight of the base under an adapter", "base-layer")
        elif key.startswith("base_model.model.") and not any(part.startswith("lora_") for part in parts):
            refuse(f"the file holds {key!r:.120}, a weight of the base itself", "base-key")
        else:
            refuse(f"the file holds {key!r:.120}, which is no factor of a LoRA", "foreign-tensor")
    return modules


def _check_module(module: str, parts: Mapping[str, TensorInfo], settings: Mapping[str, Any]) -> None:
    pair = next((pair for pair in _SIDES if set(pair) <= set(parts)), None)
    if pair is None:
        refuse(f"{module:.120} lacks one of its factors", "half-missing")
    if len(set(parts) & {name for side in _SIDES for name in side}) > 2:
        refuse(f"{module:.120} has the factors of two kinds of layer", "foreign-tensor")
    if "lora_B.bias" in parts and not settings.get("lora_bias"):
        refuse(f"{module:.120} brings a bias that the configuration does not declare", "foreign-tensor")
    if any(part.startswith("lora_magnitude") for part in parts) and not settings.get("use_dora"):
        refuse(f"{module:.120} brings magnitudes, and the adapter is no DoRA", "foreign-tensor")
    rank = rank_of(module, settings)
    a, b = (parts[name].shape for name in pair)
    if len(a) < 2 or len(b) < 2 or a[0] != b[1]:
        refuse(
            f"{module:.120} has factors of shapes {a} and {b}, which do not fit each other", "rank-mismatch"
        )
    if a[0] != rank:
        refuse(f"{module:.120} has factors of rank {a[0]}; its configuration says {rank}", "other-rank")


def _targets(settings: Mapping[str, Any]) -> frozenset[str] | None:
    """The names that a configuration targets; None where it has a pattern, which is not run."""
    named = settings["target_modules"]
    return frozenset(named) if isinstance(named, list) else None


def _is_target(module: str, targets: frozenset[str]) -> bool:
    """Whether a module, or any end of its path, is named; strangers may name thousands."""
    parts = module.split(".")
    return any(".".join(parts[at:]) in targets for at in range(len(parts)))


def _check_shape(module: str, parts: Mapping[str, TensorInfo], shapes: Shapes) -> None:
    """Hold the factors of a module to the weight that they are added to."""
    weight = shapes.find(module)
    if weight is None:
        refuse(f"the file adapts {module:.120}, which the base has not", "no-such-layer")
    if "lora_embedding_A" in parts:
        rows, wide = parts["lora_embedding_A"].shape[1], parts["lora_embedding_B"].shape[0]
        fits = weight == (rows, wide) and all(len(parts[name].shape) == 2 for name in _SIDES[1])
    else:
        a, b = parts["lora_A.weight"].shape, parts["lora_B.weight"].shape
        # Conv1D of GPT-2, a linear layer, keeps its weight transposed.
        fits = (b[0], *a[1:]) == weight or (shapes.transposed and (*a[1:], b[0]) == weight)
        fits = fits and len(b) == len(a) and set(b[2:]) <= {1}
        wide = b[0]
    if not fits:
        refuse(
            f"{module:.120} has weights of shape {weight} on the base, and factors for another: "
            f"{', '.join(str(info.shape) for info in parts.values()):.200}",
            "other-shape",
        )
    for part, info in parts.items():
        if part not in _SIDES[0] + _SIDES[1] and (info.count != wide or max(info.shape, default=1) != wide):
            refuse(f"{part} of {module:.120} has shape {info.shape}", "other-shape")


def _check_whole(modules: set[str], targets: frozenset[str] | None, shapes: Shapes) -> None:
    """PEFT adapts every module that a target names: of those that a file leaves out it makes fresh ones."""
    if targets is None:
        return
    lacking = {name for name in shapes.siblings(modules) if _is_target(name, targets)} - modules
    if lacking and (lacking := shapes.truly(lacking)):
        refuse(
            f"the file lacks factors for {len(lacking):,} modules that its targets name: {min(lacking):.120} is one",
            "layers-missing",
        )
