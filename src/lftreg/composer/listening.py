"""Who hears how far a composition is, and who may still object to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

Check = Callable[[str], None]  # hears the digest of a result before it is stored, and may raise


class Listener(Protocol):
    def __call__(self, doing: str, done: int = 0) -> None:
        """In a word or two what is being done, and how many layers are."""


def silent(doing: str, done: int = 0) -> None:
    """Nobody listens."""


def anything(digest: str) -> None:
    """Nobody objects."""
