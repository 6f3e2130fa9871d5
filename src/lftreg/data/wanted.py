"""How training data is named: a file, a folder or a dataset of the hub, with or without a weight.

./inbox.jsonl          a file                      hub:org/name           a dataset of the hub
./inbox.jsonl:2        every row twice a pass      hub:org/name@v1.0      at a branch, tag or commit
./letters:0.25         a quarter of a folder       hub:org/name@main:0.5  half of its rows
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from lftreg.errors import InvalidReference
from lftreg.registry.ref import HUB

MOST = 100.0
PREFIX = "hub:"
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?inf|nan", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What was asked for: a path, or a dataset of the hub and its revision; and how much its rows count."""

    path: Path | None = None
    hub: str = ""
    revision: str | None = None
    weight: float = 1.0

    def __str__(self) -> str:
        """Without its weight."""
        if self.path is not None:
            return str(self.path)
        return f"{PREFIX}{self.hub}" + (f"@{self.revision}" if self.revision else "")

    @property
    def stem(self) -> str:
        """What an adapter may be named after."""
        if self.path is None:
            return self.hub.rpartition("/")[2]
        whole = self.path.expanduser()
        return whole.resolve().name if whole.is_dir() else whole.stem


def parse_data(given: str | Path) -> Wanted:
    """Read what --data takes; a weight follows the last colon. A Path is itself, whatever stands in its name.

    Raises InvalidReference for a weight that is none, or a dataset that is named wrongly.
    """
    if isinstance(given, Path):
        return Wanted(given)
    head, weight = _weighted(given)
    if not head.startswith(PREFIX):
        return Wanted(Path(head), weight=weight)
    if not HUB.fullmatch(head.removeprefix(PREFIX)):
        raise InvalidReference(f"{head!r} is no dataset", "write hub:org/name or hub:org/name@revision")
    repo, _, revision = head.removeprefix(PREFIX).partition("@")
    return Wanted(hub=repo, revision=revision or None, weight=weight)


def _weighted(given: str) -> tuple[str, float]:
    head, colon, tail = given.rpartition(":")
    if not colon or (given.startswith(PREFIX) and head == PREFIX.rstrip(":")):
        return given, 1.0
    if not _NUMBER.fullmatch(tail):
        if not given.startswith(PREFIX) and (Path(given).exists() or not Path(head).exists()):
            return given, 1.0  # a colon in a name, and no weight
        raise InvalidReference(
            f"weight {tail!r} of {head!r} is no number", f"write {head}:0.5", code="invalid-weight"
        )
    if not given.startswith(PREFIX) and Path(given).exists() and not Path(head).exists():
        return given, 1.0
    weight = float(tail)
    if not (math.isfinite(weight) and 0 < weight <= MOST):
        raise InvalidReference(
            f"weight {tail} of {head!r} is not above 0 and at most {MOST:g}",
            f"2 shows every row twice a pass, 0.5 half of the rows: {head}:2",
            code="invalid-weight",
        )
    return head, weight
