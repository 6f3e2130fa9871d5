"""Errors as clients of OpenAI's API know them: {"error": {"message", "type", "param", "code"}}, and a hint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

from lftreg.errors import LftregError, NotFound, StorageError, TokenNeeded, Unavailable, UsageError

TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
# Our codes whose status is not that of their class, and what OpenAI calls some of them.
STATUS = {"invalid-reference": 404, "queue-full": 429}
CODES = {
    "too-long": "context_length_exceeded",
    "unknown-adapter": "model_not_found",
    "unknown-alias": "model_not_found",
    "unknown-version": "model_not_found",
    "invalid-reference": "model_not_found",
    "queue-full": "rate_limit_exceeded",
}
CLASSES: tuple[tuple[type[LftregError], int], ...] = (
    (UsageError, 400),
    (NotFound, 404),
    (Unavailable, 503),
    (TokenNeeded, 500),
    (StorageError, 503),
)


class Refused(Exception):
    """An answer that is an error. `param` names the field of the request that is to blame."""

    def __init__(
        self,
        status: int,
        message: str,
        code: str,
        *,
        param: str | None = None,
        hint: str | None = None,
        retry: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.code, self.param, self.hint = status, message, code, param, hint
        self.headers = dict(headers or {})
        if retry is not None:
            self.headers["Retry-After"] = str(max(1, int(retry + 0.999)))

    @property
    def document(self) -> dict[str, Any]:
        kind = TYPES.get(self.status, "server_error" if self.status >= 500 else "invalid_request_error")
        told = {"message": self.message, "type": kind, "param": self.param, "code": self.code}
        return {"error": told | ({"hint": self.hint} if self.hint else {})}

    def response(self) -> JSONResponse:
        return JSONResponse(self.document, self.status, headers=self.headers)


def refusal(error: LftregError, param: str | None = None) -> Refused:
    """What a client is told of an error of ours."""
    status = STATUS.get(error.code) or next((s for kind, s in CLASSES if isinstance(error, kind)), 500)
    return Refused(
        status,
        error.message,
        CODES.get(error.code, error.code),
        param=param,
        hint=error.hint,
        retry=1 if status in (429, 503) else None,
    )


def bad(
    message: str, param: str | None = None, *, code: str = "invalid_value", hint: str | None = None
) -> Refused:
    """A request that cannot be understood or carried out as it is."""
    return Refused(400, message, code, param=param, hint=hint)


def unsupported(name: str, value: Any = None) -> Refused:
    """A parameter that would have to be ignored."""
    return bad(
        f"{name} is not supported here",
        name,
        code="unsupported_parameter",
        hint=f"leave {name} out" + (f" or give {value}" if value is not None else ""),
    )
