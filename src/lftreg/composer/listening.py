"""Who hears how far a composition is."""

from __future__ import annotations

from typing import Protocol


class Listener(Protocol):
    def __call__(self, doing: str, done: int = 0) -> None:
        """In a word or two what is being done, and how many layers are."""


def silent(doing: str, done: int = 0) -> None:
    """Nobody listens."""
