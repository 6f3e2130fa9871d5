"""What may stand in a column: the same on every database, so that a registry can move from one to another."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from sqlalchemy import URL, Engine, create_engine, event

from lftreg.errors import InvalidData

WIDEST = 1 << 63  # of the whole numbers that both can hold


def engine_of(url: URL, **options: Any) -> Engine:
    """An engine that takes only what both databases can hold, and gives it back alike."""
    engine = create_engine(url, json_serializer=to_json, **options)
    event.listen(engine, "before_cursor_execute", _check)
    return engine


def to_json(value: Any) -> str:
    """JSON as the standard has it: what is no number becomes null."""
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _check(_connection: Any, _cursor: Any, _sql: str, given: Any, _context: Any, many: bool) -> None:
    for row in given if many else (given,):
        for value in row.values() if isinstance(row, Mapping) else row or ():
            if isinstance(value, int) and not -WIDEST <= value < WIDEST:
                raise InvalidData(
                    f"a number of {value.bit_length()} bits can be neither stored nor found",
                    "give a smaller one",
                    code="invalid-number",
                )
            if isinstance(value, str) and ("\0" in value or not _encodes(value)):
                raise InvalidData(
                    f"{value[:40]!r} can be neither stored nor found: it holds characters that are no text",
                    "take the NUL or the lone surrogate out",
                    code="invalid-text",
                )


def _encodes(text: str) -> bool:
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
