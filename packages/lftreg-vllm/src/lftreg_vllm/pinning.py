"""Names that move are looked up for every request.

vLLM keeps what a name was resolved to for as long as it runs: an alias that moved would go on answering with the
version that it was on. So `support@prod` becomes `support@sha256:...` before vLLM sees it. Two names of one version
are then one adapter in memory and one in the prefix cache, too.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from lftreg.errors import LftregError
from lftreg_vllm.desk import Desk, log, registry_ref

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Pinning:
    """ASGI middleware: the field `model` of a JSON body, where it is a REF of the registry, becomes NAME@sha256:DIGEST.

    Everything else passes as it came: the served model itself, names of others, bodies that are no JSON.
    """

    def __init__(self, app: App, desk: Desk | None = None) -> None:
        self.app = app
        self.desk = desk or Desk()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST" or not _is_json(scope):
            await self.app(scope, receive, send)
            return
        body = await _whole(receive)
        if body is None:  # the client is gone
            return
        new = await self._pinned(body, _served(scope))
        if new is not body:
            scope = {**scope, "headers": [*_without_length(scope), (b"content-length", b"%d" % len(new))]}
        await self.app(scope, _replay(new, receive), send)

    async def _pinned(self, body: bytes, served: set[str]) -> bytes:
        try:
            told = json.loads(body)
        except (ValueError, RecursionError):
            return body  # vLLM says what is wrong with it
        name = told.get("model") if isinstance(told, dict) else None
        if not isinstance(name, str) or name in served:
            return body
        try:
            if registry_ref(name).digest is not None and len(name.rpartition(":")[2]) == 64:
                return body
            told["model"] = await self.desk.pin(name)
        except LftregError as error:
            log.info("lftreg: %.80r is passed on as it is: %s", name, error.message)
            return body
        return json.dumps(told).encode()


def _served(scope: Scope) -> set[str]:
    """The names of the base itself, which win over adapters of the same name, as in vLLM."""
    models = getattr(getattr(scope.get("app"), "state", None), "openai_serving_models", None)
    return {path.name for path in getattr(models, "base_model_paths", ())}


def _is_json(scope: Scope) -> bool:
    kinds = [value for name, value in scope["headers"] if name.lower() == b"content-type"]
    return any(kind.partition(b";")[0].strip().lower() == b"application/json" for kind in kinds)


def _without_length(scope: Scope) -> list[tuple[bytes, bytes]]:
    return [(name, value) for name, value in scope["headers"] if name.lower() != b"content-length"]


async def _whole(receive: Receive) -> bytes | None:
    pieces: list[bytes] = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        pieces.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(pieces)


def _replay(body: bytes, receive: Receive) -> Receive:
    """The body once, and after it whatever the client does: a disconnect ends a stream."""
    given = False

    async def again() -> MutableMapping[str, Any]:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
