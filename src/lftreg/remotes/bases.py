"""Which base somebody else's adapter is for: what it says is compared with names known here, and never opened."""

from __future__ import annotations

from typing import Any

from lftreg.errors import Incompatible, UsageError
from lftreg.models.base import STARTER, FoundBase, find_base
from lftreg.registry import Registry

_HINT = "--base starter, --base FOLDER or --base ORG/MODEL"


def base_of(
    registry: Registry, declared: Any, given: str | None, fingerprint: str | None = None
) -> FoundBase:
    """The base for an adapter that says `declared` of it, where the user has `given` one or left it out.

    A stranger's word must not start a download or a look into a folder: it counts only where it is the id of a base
    that is known here. A `fingerprint`, which a manifest tells, has to be that of the base. Raises UsageError where the
    user has to say which base, Unavailable for one that is not on this disk, Incompatible where it is another one:
    nothing in the factors tells two bases of the same shapes apart.
    """
    known = {base.id: base for base, _ in registry.bases()}
    by_content = {base.fingerprint: base.id for base in known.values()}
    spec = given or by_content.get(fingerprint or "")
    if spec is None and isinstance(declared, str) and declared in (STARTER, *known):
        spec = declared
    if spec is None:
        raise _unknown(declared)
    found = find_base(spec, registry, download=given is not None)
    if fingerprint is not None and found.record.fingerprint != fingerprint:
        raise Incompatible(
            f"the adapter was made for {_said(declared)}, sha256 {fingerprint[:12]}, and {spec!r} is "
            f"{found.record.fingerprint[:12]}",
            "give the base that it was made for; another one of the same shapes would answer nonsense",
            code="other-base",
        )
    other = known.get(declared) if isinstance(declared, str) else None
    if (
        fingerprint is None
        and declared != spec
        and other is not None
        and other.fingerprint != found.record.fingerprint
    ):
        raise Incompatible(
            f"the adapter says that it was made for {declared!r}, which is known here and is not {spec!r}",
            f"give --base {declared}, or correct base_model_name_or_path in its adapter_config.json",
            code="other-base",
        )
    return found


def _unknown(declared: Any) -> UsageError:
    text = declared if isinstance(declared, str) else ""
    if "://" in text:
        return UsageError(
            f"its configuration names an address as its base, {text!r:.120}, which is not fetched",
            _HINT,
            code="base-url",
        )
    if text.startswith(("/", "~", "\\")) or ".." in text.split("/") or text[1:3] == ":\\":
        return UsageError(
            f"its configuration names a folder as its base, {text!r:.120}, which is not opened",
            _HINT,
            code="base-upwards" if ".." in text.split("/") else "base-path",
        )
    said = f" Its configuration says {text!r:.120}." if text else ""
    return UsageError(f"which base was the adapter made for?{said}", _HINT, code="unknown-base")


def _said(declared: Any) -> str:
    return repr(declared)[:120] if isinstance(declared, str) and declared else "another base"
