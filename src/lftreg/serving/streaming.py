"""Answers on their way from the engine's thread to a client: in pieces as they come, or whole."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import anyio
from anyio import to_thread
from starlette.types import Receive, Scope, Send

from lftreg.serving.engine import Engine
from lftreg.serving.errors import Refused, refusal
from lftreg.serving.metrics import Timing
from lftreg.serving.sampling import Chosen
from lftreg.serving.tickets import Asked, Ended, Event, Failed, Reason, Ticket

STALL = 30.0  # seconds that a client may leave what is sent to it unread

T = TypeVar("T")


class Gone(Exception):
    """Nobody waits for the answer any more."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What an event adds to the answer `index`: text, tokens, or its end with what is told then."""

    index: int
    text: str
    tokens: tuple[Chosen, ...] = ()
    reason: Reason | None = None
    said: int = 0
    cached: int = 0


@dataclass(slots=True)
class Answer:
    """One answer, as far as it has come."""

    text: str = ""
    tokens: list[Chosen] = field(default_factory=list)
    reason: Reason | None = None
    said: int = 0
    cached: int = 0

    def add(self, piece: Piece) -> None:
        self.text += piece.text
        self.tokens += piece.tokens
        if piece.reason is not None:
            self.reason, self.said, self.cached = piece.reason, piece.said, piece.cached


class Flow:
    """The answers to one request. All of its tickets are called off when `held` closes, however that comes."""

    def __init__(self, count: int, deadline: float, timing: Timing) -> None:
        self.answers = [Answer() for _ in range(count)]
        self._deadline, self._timing = deadline, timing
        self._events: asyncio.Queue[tuple[int, float, Event]] = asyncio.Queue()

    @classmethod
    async def begin(
        cls, engine: Engine, asked: Sequence[Asked], deadline: float, timing: Timing, held: AsyncExitStack
    ) -> Flow:
        """Put every question into the queue. `deadline` is a time of anyio's clock. Raises what `submit` raises."""
        flow = cls(len(asked), deadline, timing)
        loop = asyncio.get_running_loop()
        tickets: list[Ticket] = []

        def listen(index: int, event: Event) -> None:
            loop.call_soon_threadsafe(flow._events.put_nowait, (index, time.monotonic(), event))

        def submit() -> None:
            for index, one in enumerate(asked):
                tickets.append(engine.submit(one, partial(listen, index)))

        def call_off() -> None:
            for ticket in tickets:
                ticket.cancel()

        held.callback(call_off)
        await to_thread.run_sync(submit)
        return flow

    @property
    def done(self) -> bool:
        return all(answer.reason is not None for answer in self.answers)

    async def some(self) -> list[Piece]:
        """Whatever has come, at least one piece. Raises Refused for a failure and when the time is over."""
        try:
            with anyio.fail_after(max(0.0, self._deadline - anyio.current_time())):
                events = [await self._events.get()]
        except TimeoutError as error:
            raise Refused(504, "the answer took too long", "timeout", hint="ask for fewer tokens") from error
        while not self._events.empty():
            events.append(self._events.get_nowait())
        pieces = [self._piece(*event) for event in events]
        for piece in pieces:
            self.answers[piece.index].add(piece)
        return pieces

    async def whole(self) -> list[Answer]:
        """All answers, once they have ended."""
        while not self.done:
            await self.some()
        return self.answers

    def _piece(self, index: int, at: float, event: Event) -> Piece:
        if isinstance(event, Failed):
            raise refusal(event.error)
        if isinstance(event, Ended):
            return Piece(index, event.text, (), event.reason, event.tokens, event.cached)
        self._timing.said(index, at)
        return Piece(index, event.text, (event.token,))


async def unless_gone(receive: Receive, work: Awaitable[T]) -> T:
    """What `work` comes to. Raises Gone, with the work cancelled, once the client has hung up."""
    outcome: list[T] = []
    failure: list[Exception] = []

    async def watch() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(watch)
        try:
            outcome.append(await work)
        except Exception as error:  # noqa: BLE001 carried out of the group as it is
            failure.append(error)
        group.cancel_scope.cancel()
    if failure:
        raise failure[0]
    if not outcome:
        raise Gone
    return outcome[0]


class EventStream:
    """A response of server-sent events. Whoever stops reading them is cut off."""

    def __init__(self, lines: AsyncIterator[bytes], headers: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._lines = lines
        self._headers = [
            (b"content-type", b"text/event-stream; charset=utf-8"),
            (b"cache-control", b"no-cache"),
            (b"x-accel-buffering", b"no"),
            *headers,
        ]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await unless_gone(receive, self._write(scope, send))

    async def _write(self, scope: Scope, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        try:
            async for line in self._lines:
                with anyio.fail_after(STALL):
                    await send({"type": "http.response.body", "body": line, "more_body": True})
            with anyio.fail_after(STALL):
                await send({"type": "http.response.body", "body": b""})
        except TimeoutError:
            abort = scope.get("lftreg.abort")
            if abort is not None:
                abort()  # what was written waits in a buffer that would keep the connection open
            raise Gone from None


def event_of(document: Any) -> bytes:
    return b"data: " + json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode() + b"\n\n"


async def events(
    flow: Flow,
    first: Sequence[Piece],
    opening: Iterable[Any],
    shown: Callable[[Piece], Iterable[Any]],
    last: Callable[[], Iterable[Any]],
    failed: Callable[[Refused], None],
) -> AsyncIterator[bytes]:
    """The lines of a stream: its opening, what `first` and all later pieces show, what is told `last`, its end.

    An error that comes when answering has begun is an event, too, and `failed` hears of it.
    """
    pieces: Sequence[Piece] = first
    lines = [event_of(document) for document in opening]
    try:
        while True:
            lines += [event_of(document) for piece in pieces for document in shown(piece)]
            if lines:
                yield b"".join(lines)
                lines = []
            if flow.done:
                break
            pieces = await flow.some()
        ending = [event_of(document) for document in last()]
    except Refused as error:
        failed(error)
        ending = [event_of(error.document)]
    yield b"".join(ending) + b"data: [DONE]\n\n"
