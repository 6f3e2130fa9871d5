"""Requests that are being answered, and the places of the cache that they are answered in."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lftreg.serving.passes import Alone
from lftreg.serving.pool import Parts
from lftreg.serving.shelf import Lease
from lftreg.serving.tickets import Ticket
from lftreg.serving.voices import Key
from lftreg.serving.writing import Writing

if TYPE_CHECKING:
    import torch


@dataclass(slots=True)
class Row:
    """A request that has a place. `ids` are its prompt and what it has said; `read` of them are in the cache."""

    ticket: Ticket
    lease: Lease
    key: Key
    ids: list[int]
    writing: Writing
    dice: torch.Generator | None
    parts: Parts = ()
    read: int = 0
    cached: int = 0
    said: int = 0
    alone: Alone | None = None

    @property
    def going(self) -> bool:
        """Whether its prompt has been read."""
        return self.said > 0


@dataclass(slots=True)
class Place:
    """A row of the cache: who is in it, and what it holds the keys and values of, for which voice."""

    row: Row | None = None
    key: Key | None = None
    ids: list[int] = field(default_factory=list)
    used: int = 0  # when it was last used, in steps


def common(place: Place, row: Row) -> int:
    """How many tokens of a prompt a place has read for the same voice; the last one is always read anew."""
    if place.key != row.key:
        return 0
    most = min(len(place.ids), len(row.ids) - 1)
    return next((n for n in range(most) if place.ids[n] != row.ids[n]), most)
