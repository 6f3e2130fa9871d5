"""GET /v1/models: what can be asked here, whether it is in memory or not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lftreg.models.base import FoundBase
from lftreg.models.generate import BASE_PREFIX
from lftreg.registry import Key, Listed, Registry
from lftreg.serving.voices import Voice, base_name

OWNER = "lftreg"


def list_models(base: FoundBase, registry: Registry, key: Key, there: frozenset[str]) -> list[dict[str, Any]]:
    """The base, then every adapter of it: by its name, by its aliases and by each version. `there` is in memory."""
    found = [of_base(base)] if key.may_ask(base_name(base)) else []
    for version in registry.listed(base.record.fingerprint):
        if key.may_ask(version.name):
            found += _of_version(version, base, version.digest in there)
    return found


def base_id(base: FoundBase) -> str:
    """The base as a `model`: one in a folder is base:NAME, so that it cannot be taken for an adapter."""
    name = base_name(base)
    return name if name == base.record.id else f"{BASE_PREFIX}{name}"


def of_base(base: FoundBase) -> dict[str, Any]:
    return _model(base_id(base), 0, base_id(base), base, True) | {
        "digest": f"sha256:{base.record.fingerprint}"
    }


def of_voice(asked: str, voice: Voice, base: FoundBase, there: frozenset[str]) -> dict[str, Any]:
    """One of them, or a sum."""
    if not voice.versions:
        return of_base(base) | {"id": asked}
    created = max(int(version.created_at.timestamp()) for version in voice.versions)
    loaded = all(version.digest in there for version in voice.versions)
    model = _model(asked, created, voice.name, base, loaded)
    if voice.plain:
        (version,) = voice.versions
        model |= {
            "digest": f"sha256:{version.digest}",
            "domain": version.domain,
            "kind": version.kind,
            "rank": version.rank,
        }
    return model


def _of_version(version: Listed, base: FoundBase, loaded: bool) -> Iterator[dict[str, Any]]:
    names = [version.name] if version.newest else []
    for id_ in [*names, *(f"{version.name}@{alias}" for alias in version.aliases), version.ref]:
        yield _model(id_, int(version.created_at.timestamp()), version.ref, base, loaded) | {
            "digest": f"sha256:{version.digest}",
            "domain": version.domain,
            "kind": version.kind,
            "rank": version.rank,
        }


def _model(id_: str, created: int, ref: str, base: FoundBase, loaded: bool) -> dict[str, Any]:
    return {
        "id": id_,
        "object": "model",
        "created": created,
        "owned_by": OWNER,
        "ref": ref,
        "base": base_name(base),
        "loaded": loaded,
        "digest": None,
        "domain": None,
        "kind": None,
        "rank": None,
    }
