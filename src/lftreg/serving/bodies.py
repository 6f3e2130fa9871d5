"""Reading the JSON bodies of requests: within a size and a time, every field by its type, none passed over."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import anyio
from starlette.requests import ClientDisconnect, Request

from lftreg.serving.errors import Refused, bad, unsupported
from lftreg.serving.streaming import Gone

MAX_BODY = 4 * 2**20  # bytes
PATIENCE = 30.0  # seconds that a body may take to come
SHOWN = 60  # characters of a value in a message


async def read_body(request: Request) -> bytes:
    """The body. Raises Refused where it is too large (413) or does not come (408), Gone where nobody is left."""
    large = Refused(413, f"the request is larger than {MAX_BODY:,} bytes", "request_too_large")
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length[:20]) > MAX_BODY:
        raise large
    held = bytearray()
    try:
        with anyio.fail_after(PATIENCE):
            async for chunk in request.stream():
                held += chunk
                if len(held) > MAX_BODY:
                    raise large
    except TimeoutError as error:
        raise Refused(408, "the rest of the request did not come", "request_timeout") from error
    except ClientDisconnect as error:
        raise Gone from error
    return bytes(held)


def parse(body: bytes) -> Fields:
    """The fields of a JSON object. Raises Refused for anything else."""

    def constant(name: str) -> NoReturn:
        raise ValueError(f"{name} is no JSON")

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=constant)
    except RecursionError as error:
        raise bad("the body is nested too deeply", code="invalid_json") from error
    except ValueError as error:  # of UTF-8, of JSON, of numbers with thousands of digits
        raise bad(f"the body is not JSON: {error}", code="invalid_json") from error
    if not isinstance(value, dict):
        raise bad("the body is not a JSON object", code="invalid_json")
    return Fields(value)


class Fields:
    """The fields of one JSON object; null is as good as left out. `path` stands before names in messages."""

    def __init__(self, values: Mapping[str, Any], path: str = "") -> None:
        self._values = {name: value for name, value in values.items() if value is not None}
        self._path = path

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def get(self, name: str) -> Any:
        return self._values.get(name)

    def known(
        self, names: Iterable[str], neutral: Mapping[str, tuple[Any, ...]], free: Iterable[str] = ()
    ) -> None:
        """Refuse fields beside `names` that are not neutral. `free` may hold anything: they change no answer."""
        passed = {*names, *free}
        for name, value in self._values.items():
            if name in passed or (name in neutral and _among(value, neutral[name])):
                continue
            whole = f"{self._path}{name[:SHOWN]}"
            if name in neutral:
                shown = next((json.dumps(one) for one in neutral[name] if one not in ("", [], {})), None)
                raise unsupported(whole, shown)
            raise bad(f"unknown parameter {whole!r}", whole, code="unknown_parameter")

    def fail(self, name: str, wanted: str) -> NoReturn:
        whole = f"{self._path}{name}"
        raise bad(f"{whole} has to be {wanted}, not {_shown(self._values.get(name))}", whole)

    def text(self, name: str, default: str | None = None) -> str:
        value = self._values.get(name, default)
        if value is None:
            raise bad(f"{self._path}{name} is missing", f"{self._path}{name}", code="missing_parameter")
        if not isinstance(value, str):
            self.fail(name, "a text")
        return checked_text(value, f"{self._path}{name}")

    def number(self, name: str, low: float, high: float, default: float) -> float:
        value = self._values.get(name, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.fail(name, "a number")
        if not low <= value <= high or not math.isfinite(value):
            self.fail(name, f"from {low:g} to {high:g}")
        return float(value)

    def count(self, name: str, low: int, high: int, default: int | None) -> int | None:
        value = self._values.get(name, default)
        if value is None:
            return None
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(name, "a whole number")
        if not low <= value <= high:
            self.fail(name, f"from {low} to {high}")
        return value

    def flag(self, name: str, default: bool = False) -> bool:
        value = self._values.get(name, default)
        if not isinstance(value, bool):
            self.fail(name, "true or false")
        return value

    def object(self, name: str) -> Fields:
        value = self._values.get(name, {})
        if not isinstance(value, dict):
            self.fail(name, "an object")
        return Fields(value, f"{self._path}{name}.")


def checked_text(text: str, where: str) -> str:
    """The text itself. Raises Refused for halves of characters, which no tokenizer can read."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise bad(f"{where} holds half a character (a lone surrogate)", where) from error
    return text


def _among(value: Any, allowed: tuple[Any, ...]) -> bool:
    """Equality, but for true, which is no 1."""
    return any(value == one and isinstance(value, bool) == isinstance(one, bool) for one in allowed)


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = json.dumps(value)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"
