"""The gate: what an adapter from outside must be before anything else sees it.

Nothing is unpickled, imported or resolved because of the data; the configuration is read as strict
JSON; tensors may only be the factors of the modules that the configuration declares, in the shapes it
declares, and finite.
"""

from __future__ import annotations

import json
import math
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from lftreg.errors import InvalidData
from lftreg.tensors.header import Header, TensorInfo, read_header

LARGEST_CONFIG = 1_000_000  # bytes
LARGEST_RANK = 4096
CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")
# Settings that run code, reach for files, or change more than the declared modules.
FORBIDDEN = (
    "auto_mapping", "megatron_config", "layer_replication", "target_parameters",
    "exclude_modules", "layers_pattern", "layers_to_transform",
)  # fmt: skip
# A classifier brings its own head, which most bases lack; by these names, and by no other.
CLASSIFIER_HEADS = ("classifier", "score", "classification_head", "pooler")
_HEAD = re.compile(
    rf"base_model\.model\.(\w+\.)?(?P<head>{'|'.join(CLASSIFIER_HEADS)})(\.\w+)?\.(weight|bias)"
)
_KEY = re.compile(
    r"base_model\.model\.(?P<module>[\w.]+)\."
    r"(?P<part>lora_A\.weight|lora_B\.weight|lora_B\.bias|lora_embedding_A|lora_embedding_B|lora_magnitude_vector(\.weight)?)"
)
_PLAIN_PATTERN = re.compile(r"\^?[\w.\\]+")


@dataclass(frozen=True, slots=True)
class Checked:
    """An adapter that may come in: its weights, and its configuration, with modules by their names."""

    weights: Path
    config: Mapping[str, Any]


def check_adapter(weights: Path, config: Path) -> Checked:
    """Check two files of a PEFT adapter. Raises InvalidData with a code of its own for each fault."""
    settings = read_config(config)
    _check_settings(settings)
    header = read_header(weights)
    modules = _modules(header.tensors, settings)
    if is_classifier(settings):
        _check_labels(header, settings)
    if not modules:
        _refuse("the adapter holds no factors", "no-factors")
    for module, parts in modules.items():
        _check_module(module, parts, settings)
    _check_finite(weights, header.tensors)
    if isinstance(
        settings["target_modules"], str
    ):  # a stranger's pattern is never run: its matches are known
        settings = settings | {"target_modules": sorted(modules)}
    return Checked(weights, settings)


def read_config(path: Path) -> dict[str, Any]:
    """A configuration as strict JSON: UTF-8, no NaN, no name twice, no bottomless nesting."""
    if path.stat().st_size > LARGEST_CONFIG:
        _refuse("adapter_config.json is too large", "config-size")
    try:
        settings = json.loads(
            path.read_bytes().decode("utf-8"), object_pairs_hook=_unique, parse_constant=_not_a_number
        )
    except (ValueError, RecursionError) as error:
        _refuse(f"adapter_config.json is not strict JSON ({error})", "config-json")
    if not isinstance(settings, dict):
        _refuse("adapter_config.json is no object", "config-json")
    return settings


def _check_settings(settings: Mapping[str, Any]) -> None:
    if str(settings.get("peft_type", "")).upper() != "LORA":
        _refuse(f"the adapter is of kind {settings.get('peft_type')!r}, not LORA", "peft-type")
    rank, alpha = settings.get("r"), settings.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or not 1 <= rank <= LARGEST_RANK:
        _refuse(f"rank {rank!r:.40} is not from 1 to {LARGEST_RANK}", "rank")
    if not isinstance(alpha, int | float) or not math.isfinite(alpha) or not 0 < abs(alpha) <= 1e6:
        _refuse(f"alpha {alpha!r:.40} is no usable number", "alpha")
    targets = settings.get("target_modules")
    if not (
        isinstance(targets, str)
        or (isinstance(targets, list) and targets and all(isinstance(t, str) for t in targets))
    ):
        _refuse("target_modules is no list of names", "targets")
    for name in FORBIDDEN:
        if settings.get(name) not in (None, [], {}, False):
            _refuse(f"{name} is set, which lftreg does not take from strangers", name.replace("_", "-"))
    if settings.get("modules_to_save") and not is_classifier(settings):
        _refuse("modules_to_save is set, which lftreg does not take from strangers", "modules-to-save")
    begun = str(settings.get("init_lora_weights", "")).lower()
    if begun.startswith(CHANGES_BASE):
        _refuse(f"the adapter began as {begun}, which changes the base under it", "changes-base")
    for name in ("rank_pattern", "alpha_pattern"):
        patterns = settings.get(name) or {}
        if not isinstance(patterns, dict) or not all(_PLAIN_PATTERN.fullmatch(key) for key in patterns):
            _refuse(f"{name} holds more than plain names", name.replace("_", "-"))
        for value in patterns.values():
            whole = isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LARGEST_RANK
            number = isinstance(value, int | float) and math.isfinite(value) and 0 < abs(value) <= 1e6
            if not (whole if name == "rank_pattern" else number):
                _refuse(f"{name} gives {value!r:.40}, which is no usable number", name.replace("_", "-"))


def is_classifier(settings: Mapping[str, Any]) -> bool:
    """Whether a configuration is that of a classifier whose head alone is kept beside its factors."""
    saved = settings.get("modules_to_save")
    heads = isinstance(saved, list) and bool(saved) and all(name in CLASSIFIER_HEADS for name in saved)
    return heads and settings.get("task_type") == "SEQ_CLS"


def is_head(key: str, settings: Mapping[str, Any]) -> bool:
    """Whether a tensor of a file belongs to a head that the configuration of a classifier declares."""
    found = _HEAD.fullmatch(key)
    inner = {
        "original_module",
        "modules_to_save",
        "base_layer",
    }  # PEFT's own places, those of the base among them
    if found is None or not is_classifier(settings) or inner & set(key.split(".")):
        return False
    return found["head"] in settings["modules_to_save"]


def _check_labels(header: Header, settings: Mapping[str, Any]) -> None:
    """A classifier has a head, and where its file names labels, one for each of the head's rows."""
    rows = [info.shape[0] for key, info in header.tensors.items() if is_head(key, settings) and info.shape]
    if not rows:
        _refuse("the adapter is a classifier and brings no head", "half-missing")
    if "labels" not in header.metadata:
        return
    try:
        labels = json.loads(header.metadata["labels"])
    except (ValueError, TypeError, RecursionError):
        labels = None
    words = isinstance(labels, list) and all(isinstance(label, str) and label for label in labels)
    if not words or len(set(labels)) != len(labels) or len(labels) not in rows:
        _refuse("the adapter names labels that are not those of its head", "labels")


def _modules(
    tensors: Mapping[str, TensorInfo], settings: Mapping[str, Any]
) -> dict[str, dict[str, TensorInfo]]:
    modules: dict[str, dict[str, TensorInfo]] = defaultdict(dict)
    for key, info in tensors.items():
        if is_head(key, settings):
            continue
        found = _KEY.fullmatch(key)
        if found is None:
            _refuse(f"the file holds {key!r:.120}, which is no factor of a LoRA", "foreign-tensor")
        modules[found["module"]][found["part"]] = info
    return modules


def _check_module(module: str, parts: Mapping[str, TensorInfo], settings: Mapping[str, Any]) -> None:
    targets = settings["target_modules"]
    if isinstance(targets, list) and not any(module == t or module.endswith("." + t) for t in targets):
        _refuse(f"the file adapts {module}, which target_modules does not name", "undeclared-module")
    sides = [("lora_A.weight", "lora_B.weight"), ("lora_embedding_A", "lora_embedding_B")]
    pair = next((pair for pair in sides if set(pair) <= set(parts)), None)
    if pair is None:
        _refuse(f"{module} lacks one of its factors", "half-missing")
    if "lora_B.bias" in parts and not settings.get("lora_bias"):
        _refuse(f"{module} brings a bias that the configuration does not declare", "foreign-tensor")
    if any(part.startswith("lora_magnitude") for part in parts) and not settings.get("use_dora"):
        _refuse(f"{module} brings magnitudes, and the adapter is no DoRA", "foreign-tensor")
    rank = _rank_of(module, settings)
    a, b = (parts[name].shape for name in pair)
    if not a or len(b) < 2 or a[0] != rank or b[1] != rank:
        _refuse(f"{module} has factors of shapes {a} and {b}; its rank should be {rank}", "rank-mismatch")


def _rank_of(module: str, settings: Mapping[str, Any]) -> int:
    for pattern, rank in (settings.get("rank_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return int(rank)
    return int(settings["r"])


def _check_finite(path: Path, tensors: Mapping[str, TensorInfo]) -> None:
    """No tensor may hold a NaN or an infinity: one of them spoils every answer of the base."""
    import numpy as np

    exponents = {"F32": (np.uint32, 0x7F800000), "BF16": (np.uint16, 0x7F80), "F16": (np.uint16, 0x7C00)}
    with path.open("rb") as file:
        for name, info in tensors.items():
            if info.dtype not in exponents:
                _refuse(f"{name} is of type {info.dtype}; factors are F32, BF16 or F16", "dtype")
            kind, exponent = exponents[info.dtype]
            file.seek(info.start)
            left = info.stop - info.start
            while left:
                chunk = file.read(min(left, 1 << 24))
                left -= len(chunk)
                bits = np.frombuffer(chunk, dtype=kind)
                if ((bits & exponent) == exponent).any():
                    _refuse(f"{name} holds a NaN or an infinity", "not-finite")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _not_a_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _refuse(message: str, code: str) -> NoReturn:
    raise InvalidData(
        message, "nothing was registered; ask its author for a plain LoRA in safetensors", code=code
    )
