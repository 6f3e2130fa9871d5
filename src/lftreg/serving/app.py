"""The application: which address is answered by what, and how every answer that is an error looks."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime

import anyio
from anyio import to_thread
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from lftreg.errors import LftregError
from lftreg.registry import Key
from lftreg.serving import browse, catalog
from lftreg.serving.access import ANYBODY
from lftreg.serving.bodies import parse, read_body
from lftreg.serving.chat import Chat
from lftreg.serving.completions import Completions, Generate
from lftreg.serving.desk import Desk
from lftreg.serving.errors import Refused, bad, refusal
from lftreg.serving.metrics import NOBODY, Timing
from lftreg.serving.shapes import Head, Shape
from lftreg.serving.streaming import EventStream, Flow, Gone, events, unless_gone
from lftreg.serving.voices import base_name
from lftreg.serving.wanted import Wanted

HUNG_UP = 499  # in metrics: nobody waited for the answer

log = logging.getLogger("lftreg.serving")
requests = logging.getLogger("lftreg.requests")  # a line of JSON for each, at INFO


@dataclass(slots=True)
class Call:
    """One request: who asks, whom, and what is to be given back when it has been answered."""

    request: Request
    held: AsyncExitStack
    key: Key = ANYBODY
    adapter: str = NOBODY
    counted: bool = False
    status: int | None = None  # of what failed when it had begun


Answering = Callable[[Call], Awaitable[ASGIApp]]


class Endpoint:
    """An address. `scope` is what a key needs for it, None where nobody is asked."""

    def __init__(self, desk: Desk, scope: str | None, answer: Answering) -> None:
        self.desk, self.scope, self.answer = desk, scope, answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with AsyncExitStack() as held:
            held.callback(self.desk.arrive())
            call = Call(Request(scope, receive), held)
            status, began = HUNG_UP, time.monotonic()
            try:
                response = await self._response(call)
                status = getattr(response, "status_code", 200)
                await response(scope, receive, send)
            except Gone:
                status = HUNG_UP
            except Exception:
                log.exception("an answer failed: %s %s", call.request.method, call.request.url.path)
                raise
            finally:
                if call.counted:
                    self.desk.metrics.count(call.adapter, call.status or status)
                if requests.isEnabledFor(logging.INFO):
                    requests.info(_line(call, call.status or status, time.monotonic() - began))

    async def _response(self, call: Call) -> ASGIApp:
        try:
            call.key = await self.desk.access.admit(call.request, self.scope)
            return await self.answer(call)
        except Refused as error:
            return _note(call, error).response()
        except LftregError as error:
            return _note(call, refusal(error)).response()
        except Gone:
            raise
        except Exception:
            log.exception("a request failed: %s %s", call.request.method, call.request.url.path)
            return Refused(500, "the server failed", "internal_error", hint="its log tells more").response()


def make_app(desk: Desk) -> Starlette:
    """Everything but the playground, which needs the engine and is added by `playground` once that is there."""

    def asks(shape: Shape) -> Answering:
        async def answer(call: Call) -> ASGIApp:
            return await _generate(desk, shape, call)

        return answer

    async def models(call: Call) -> ASGIApp:
        engine = desk.ready()

        def listed() -> Response:  # of thousands, writing the JSON takes its time, too
            data = catalog.list_models(engine.loaded.base, desk.registry, call.key, desk.there())
            return JSONResponse({"object": "list", "data": data})

        return await to_thread.run_sync(listed)

    async def model(call: Call) -> ASGIApp:
        asked, asking = call.request.path_params["id"], desk.asking(call.key)

        def found() -> Response:
            return JSONResponse(catalog.of_voice(asked, asking.voice(asked), desk.base, desk.there()))

        return await to_thread.run_sync(found)

    async def metrics(call: Call) -> ASGIApp:
        page = await to_thread.run_sync(desk.metrics.page)
        return Response(page, media_type=CONTENT_TYPE_LATEST)

    def get(path: str, scope: str | None, answer: Answering) -> Route:
        return Route(path, Endpoint(desk, scope, answer), methods=["GET"])

    def post(path: str, shape: Shape) -> Route:
        return Route(path, Endpoint(desk, "generate", asks(shape)), methods=["POST"])

    cors = Middleware(
        CORSMiddleware, allow_origins=desk.options.origins, allow_methods=["GET", "POST"], allow_headers=["*"]
    )
    app = Starlette(
        routes=[
            Route("/health", _health(desk), methods=["GET"]),
            Route("/ready", _ready(desk), methods=["GET"]),
            get("/metrics", "metrics", metrics),
            get("/v1/models", "models", models),
            get("/v1/models/{id:path}", "models", model),
            post("/v1/chat/completions", Chat()),
            post("/v1/completions", Completions()),
            post("/generate", Generate()),
        ],
        middleware=[cors] if desk.options.origins else [],
        exception_handlers={HTTPException: _no_such_route, Refused: _refused},
    )
    app.router.redirect_slashes = False
    return app


def playground(desk: Desk) -> Sequence[BaseRoute]:
    """The page that people talk on, where it is part of this installation; what it asks for needs a key, too."""

    async def admit(request: Request) -> Callable[[str], bool]:
        key = await desk.access.admit(request, "models")
        return key.may_ask if key.adapters else browse.everything

    def guarded(route: Route) -> Route:
        async def answer(call: Call) -> ASGIApp:
            return route.app

        return Route(route.path, Endpoint(desk, None, answer), methods=list(route.methods or ["GET"]))

    made: Sequence[Route] = browse.routes(desk.registry, desk.base, desk.ready(), admit)
    return [guarded(route) for route in made]


async def _generate(desk: Desk, shape: Shape, call: Call) -> ASGIApp:
    """Read a request, queue it, and answer in the way it wants."""
    call.counted = True
    deadline = anyio.current_time() + desk.options.timeout
    engine = desk.check_open()
    call.held.callback(desk.take_in())
    call.held.callback(desk.limits.take_key(call.key))
    body = await read_body(call.request)
    wanted = await to_thread.run_sync(_read, desk, shape, call.key, body)
    call.adapter = desk.metrics.label(wanted.voice)
    call.held.callback(desk.limits.take_adapter(wanted.voice, base_name(desk.base)))
    timing = Timing(desk.metrics, call.adapter)
    flow = await Flow.begin(engine, wanted.asked(), deadline, timing, call.held)
    desk.metrics.read.labels(call.adapter).inc(sum(map(len, wanted.prompts)))
    head = Head(wanted, engine.loaded, shape.prefix, shape.kind)
    receive = call.request.receive
    if not wanted.stream:
        answers = await unless_gone(receive, flow.whole())
        return JSONResponse(shape.whole(head, answers))
    first = await unless_gone(receive, flow.some())  # what fails before it begins has a status of its own

    def failed(error: Refused) -> None:
        call.status = _note(call, error).status

    lines = events(
        flow,
        first,
        shape.opening(head),
        lambda piece: shape.piece(head, piece),
        lambda: head.closing(flow.answers),
        failed,
    )
    return EventStream(lines)


def _line(call: Call, status: int, seconds: float) -> str:
    """A request in the log: never what was asked or answered, nor a token."""
    client = call.request.client
    told = {
        "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "client": None if client is None else client.host,
        "key": None if call.key is ANYBODY else call.key.name,
        "method": call.request.method,
        "path": call.request.url.path,
        "adapter": call.adapter if call.counted else None,
        "status": status,
        "seconds": round(seconds, 4),
    }
    return json.dumps(told, ensure_ascii=False)


def _note(call: Call, error: Refused) -> Refused:
    """Let those who look after the server know what is its own fault, such as a damaged file."""
    if error.status == 500:
        log.error("%s %s: %s", call.request.method, call.request.url.path, error.message)
    return error


def _read(desk: Desk, shape: Shape, key: Key, body: bytes) -> Wanted:
    return shape.read(parse(body), desk.asking(key))


def _health(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def health(request: Request) -> Response:
        alive = desk.state != "failed" or desk.draining
        return JSONResponse({"status": "ok" if alive else "failed"}, 200 if alive else 503)

    return health


def _ready(desk: Desk) -> Callable[[Request], Awaitable[Response]]:
    async def ready(request: Request) -> Response:
        if desk.state == "ready":
            return JSONResponse({"status": desk.state})
        return JSONResponse({"status": desk.state}, 503, headers={"Retry-After": "5"})

    return ready


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    return error.response()


async def _no_such_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    what = f"{request.method} {request.url.path[:80]}"
    if error.status_code == 404:
        return Refused(404, f"there is no {what}", "unknown_route", hint="GET /v1/models is one").response()
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        told = f"{what} is not allowed: {allowed}"
        return Refused(405, told, "wrong_method", headers={"Allow": allowed}).response()
    return bad(error.detail).response()
