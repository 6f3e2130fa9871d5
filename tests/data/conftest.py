"""Rows written to files, as users have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def lines(path: Path, rows: list[Any]) -> Path:
    """A .jsonl file; a row that is text stands there as it is."""
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def pairs(count: int) -> list[Any]:
    return [{"prompt": f"Question {n}?", "response": f"Answer {n}."} for n in range(count)]
