"""REFs: how a user names a version, with or without a weight.

support            the newest version            support@sha256:9f2c...   by content
support@3          by number                     hub:org/repo@revision    on a remote
support@prod       by alias                      ./folder                 a path
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from lftreg.errors import InvalidName, InvalidReference, UsageError

NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
DIGEST = re.compile(r"[0-9a-f]{8,64}")
HUB = re.compile(r"[\w.-]+/[\w.-]+(@[\w./-]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ref:
    name: str | None = None
    number: int | None = None
    alias: str | None = None
    digest: str | None = None
    hub: str | None = None
    revision: str | None = None
    path: Path | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return str(self.path) if "/" in str(self.path) else f"./{self.path}"
        if self.hub is not None:
            return f"hub:{self.hub}" + (f"@{self.revision}" if self.revision else "")
        end = self.number or self.alias or (f"sha256:{self.digest}" if self.digest else None)
        return f"{self.name}@{end}" if end else str(self.name)


def check_name(name: str, what: str = "name") -> str:
    """The name itself. Raises InvalidName where it does not match `[a-z0-9][a-z0-9._-]{0,63}`."""
    if not NAME.fullmatch(name):
        raise InvalidName(
            f"{what} {name[:80]!r} is not allowed",
            "use lower-case letters, digits, dots, dashes and underscores, at most 64, a letter or digit first",
        )
    return name


def check_alias(alias: str) -> str:
    check_name(alias, "alias")
    if alias.isdigit():
        raise InvalidName(f"alias {alias!r} looks like a version number", "start it with a letter")
    return alias


def check_limit(limit: int | None) -> None:
    """Raises UsageError below 0: a database would give everything."""
    if limit is not None and limit < 0:
        raise UsageError(
            f"a limit of {limit} is none", "a whole number, or None for all", code="invalid-limit"
        )


def parse_ref(text: str) -> Ref:
    """Read a REF. Raises InvalidReference for anything else."""
    if text.startswith("hub:"):
        if not HUB.fullmatch(text[4:]):
            raise InvalidReference(
                f"{text!r} is no hub reference", "write hub:org/repo or hub:org/repo@revision"
            )
        repo, _, revision = text[4:].partition("@")
        return Ref(hub=repo, revision=revision or None)
    if "/" in text or text.startswith("."):
        return Ref(path=Path(text))
    name, at, end = text.partition("@")
    if not NAME.fullmatch(name) or (at and not end) or "@" in end:
        raise InvalidReference(
            f"{text[:80]!r} is no reference", "write NAME, NAME@3, NAME@prod or NAME@sha256:..."
        )
    if not end:
        return Ref(name)
    if end.isascii() and end.isdigit() and len(end) < 10 and int(end) > 0:
        return Ref(name, number=int(end))
    if end.startswith("sha256:"):
        if not DIGEST.fullmatch(end[7:]):
            raise InvalidReference(f"{end!r} is no digest", "give at least 8 of its hexadecimal digits")
        return Ref(name, digest=end[7:])
    if not NAME.fullmatch(end) or end.isdigit():
        raise InvalidReference(f"{end!r} is neither a version nor an alias", "write NAME@3 or NAME@prod")
    return Ref(name, alias=end)


def parse_weighted(text: str) -> tuple[Ref, float]:
    """Read REF or REF:WEIGHT; the weight follows the last colon and is 1 where it is left out."""
    head, colon, tail = text.rpartition(":")
    if not colon or head in ("hub",) or head.endswith("@sha256"):
        return parse_ref(text), 1.0
    try:
        weight = float(tail)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise InvalidReference(
            f"weight {tail!r} of {head!r} is no number", f"write {head}:0.7", code="invalid-weight"
        )
    return parse_ref(head), weight
