"""JSON from strangers: UTF-8 without a mark, no name twice, no NaN, no bottomless nesting, no endless number."""

from __future__ import annotations

import json
from typing import Any, NoReturn


class NotStrict(ValueError):
    """What is wrong with a document. `code` is one word for it: utf8, depth, duplicate, nan, number or json."""

    def __init__(self, message: str, code: str) -> None:
        super().__init__(message)
        self.code = code


def strict_json(content: bytes) -> Any:
    """The value of a document. Raises NotStrict. Whoever calls has limited its length."""
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NotStrict(f"it is not UTF-8 (byte {error.start})", "utf8") from error
    if text.startswith("\ufeff"):
        raise NotStrict("it begins with a byte order mark", "utf8")
    try:
        value = json.loads(text, object_pairs_hook=unique, parse_constant=_constant, parse_int=_integer)
        if "\\ud" in text.lower():  # half of a letter, which nobody can write down again
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError as error:
        raise NotStrict("it holds half of a letter (a lone surrogate)", "utf8") from error
    except NotStrict:
        raise
    except RecursionError as error:  # json's scanner counts with Python, and stops well before the stack does
        raise NotStrict("it nests too deep", "depth") from error
    except ValueError as error:
        raise NotStrict(str(error), "json") from error


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose names differ, for `object_pairs_hook`. Raises NotStrict."""
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise NotStrict("a name stands twice in one object", "duplicate")
    return fields


def _integer(digits: str) -> int:
    if len(digits) > 20:
        raise NotStrict(f"it holds a number of {len(digits)} digits", "number")
    return int(digits)


def _constant(word: str) -> NoReturn:
    raise NotStrict(f"{word} is no number", "nan")
