"""What an adapter is, apart from its name: the digest, and what its configuration says."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lftreg.errors import CheckFailed, InvalidData
from lftreg.registry.records import CONFIG, Draft, Version

# Who wrote the configuration and where the base lay; not what the adapter computes.
_NOT_THE_ADAPTER = {
    "base_model_name_or_path", "revision", "inference_mode", "peft_version", "task_type", "auto_mapping",
}  # fmt: skip


def digest_of(weights_sha256: str, config: Mapping[str, Any]) -> str:
    """sha256 over the weights' own sha256 and the normalised configuration."""
    kept = {
        k: v for k, v in config.items() if k not in _NOT_THE_ADAPTER and v not in (None, False, [], {}, "")
    }
    normal = json.dumps(_sorted_lists(kept), sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(f"lftreg-adapter-1\n{weights_sha256}\n{normal}\n".encode()).hexdigest()


def config_bytes(config: Mapping[str, Any]) -> bytes:
    """The file adapter_config.json: one order, whatever order it came in."""
    return (json.dumps(config, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def checked_config(content: bytes, version: Version) -> dict[str, Any]:
    """A stored configuration. Raises CheckFailed where it has changed: another scale would answer unnoticed."""
    stored = next(file for file in version.files if file.name == CONFIG)
    if hashlib.sha256(content).hexdigest() != stored.sha256:
        raise changed(CONFIG, version)
    config: dict[str, Any] = json.loads(content)
    return config


def changed(name: str, version: Version) -> CheckFailed:
    """The error for a stored file that is another than the one that was registered."""
    return CheckFailed(
        f"{name} of {version.ref} is not what was registered: its sha256 has changed",
        f"`lftreg verify {version.ref}` tells more; make or import it again",
        code="changed-file",
    )


def shape_of(config: Mapping[str, Any]) -> tuple[int, float, list[str]]:
    """Rank, alpha and target modules. Raises InvalidData where the configuration lacks them."""
    try:
        targets = config["target_modules"]
        rank, alpha = config["r"], config["lora_alpha"]
        rank = max([rank, *(config.get("rank_pattern") or {}).values()])
        return int(rank), float(alpha), [targets] if isinstance(targets, str) else sorted(targets)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidData(
            f"the adapter's configuration is not that of a LoRA ({error})", "is it a PEFT adapter?"
        ) from error


def check_origin(draft: Draft) -> None:
    """Raises InvalidData for a domain or a base's id that no index of PostgreSQL would hold."""
    for what, said, most in (("domain", draft.domain, 500), ("id of the base", draft.base.id, 2000)):
        if said is not None and len(said.encode(errors="surrogatepass")) > most:
            raise InvalidData(f"the {what} {said[:40]!r}... has more than {most} bytes", "give a shorter one")


def parameters_of(weights: Path) -> int:
    from lftreg.tensors import read_header

    return sum(info.count for info in read_header(weights).tensors.values())


def _sorted_lists(value: Any) -> Any:
    """Lists of names are sets in disguise: their order says nothing."""
    if isinstance(value, Mapping):
        return {key: _sorted_lists(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple | set) and all(isinstance(item, str) for item in value):
        return sorted(value)
    return list(value) if isinstance(value, tuple | set) else value
