"""What leaves this registry holds no token, wherever it goes: a hub, a bundle, a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lftreg.errors import InvalidData
from lftreg.registry import WEIGHTS
from lftreg.scrub import holds_secret


def refuse_secrets(files: Mapping[str, Path | bytes], message: str = "") -> None:
    """Raises InvalidData where a file, other than the weights, or what is said of them holds a token."""
    for name, content in files.items():
        if name == WEIGHTS:
            continue
        raw = content if isinstance(content, bytes) else content.read_bytes()
        if holds_secret(raw.decode("utf-8", "replace")):
            raise InvalidData(
                f"{name} would hold what looks like a token",
                "look at the version's tags and samples with `lftreg show`; nothing was sent or written",
                code="secret",
            )
    if holds_secret(message):
        raise InvalidData("the message holds what looks like a token", "nothing was sent", code="secret")
