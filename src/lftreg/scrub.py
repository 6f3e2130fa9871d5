"""Secrets taken out of what is shown or written: of an error, of a traceback, of what is shared."""

from __future__ import annotations

import contextlib
import os
import re
import sys

HIDDEN = "***"
_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "LFTREG_TOKEN")
_SHAPES = (
    re.compile(r"\bhf_[A-Za-z0-9_-]{8,}"),  # the hub's
    re.compile(r"\blft-[A-Za-z0-9_-]{20,}"),  # a server's of ours
    re.compile(r"\b(?:ghp|gho|ghs|github_pat)_[A-Za-z0-9_]{20,}"),
    re.compile(r"\bsk-[A-Za-z0-9_-]{20,}"),
    re.compile(r"\bAKIA[0-9A-Z]{16}\b"),
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}")
_IN_URL = re.compile(r"(://)[^/\s@]+@")
_SIGNED = re.compile(r"(?i)([?&](?:x-amz-signature|x-amz-credential|signature|token|sig|key)=)[^&\s'\"]+")
_SHORTEST = 8  # characters of a token that is looked for by its value


def scrub(text: str) -> str:
    """The text, with whatever is or looks like a token as `***`."""
    for secret in _own():
        text = text.replace(secret, HIDDEN)
    for shape in _SHAPES:
        text = shape.sub(HIDDEN, text)
    text = _BEARER.sub(rf"\1 {HIDDEN}", text)
    text = _IN_URL.sub(rf"\1{HIDDEN}@", text)
    return _SIGNED.sub(rf"\1{HIDDEN}", text)


def holds_secret(text: str) -> bool:
    """Whether a text that is to be shared holds a token, by its value or by its shape; Markdown hides none."""
    text = f"{text}\n{text.replace(chr(92), '')}"
    return any(secret in text for secret in _own()) or any(shape.search(text) for shape in _SHAPES)


def _own() -> list[str]:
    """The tokens of whoever is at work: those of the environment, and the one that the hub's client keeps."""
    found = [os.environ.get(name, "").strip() for name in _VARIABLES]
    client = sys.modules.get("huggingface_hub")
    # Only who shares reads the client's file: it is opened for nobody else's error, whose shape is known anyway.
    if client is not None and "lftreg.remotes.asking" in sys.modules:
        with contextlib.suppress(Exception):  # an error is being told: nothing here may raise another
            found.append(client.get_token() or "")
    return sorted({token for token in found if len(token) >= _SHORTEST}, key=len, reverse=True)
