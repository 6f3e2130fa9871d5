"""A socket, uvicorn, and how a server begins and ends: it listens, loads, answers, and lets nobody down who waits.

The first Ctrl-C or SIGTERM drains: what is being answered goes on, for `drain` seconds at most, and whoever comes
anew hears 503. The second one ends it at once.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import uvicorn
from anyio import to_thread
from uvicorn.protocols.http.h11_impl import H11Protocol

from lftreg.errors import Interrupted, UsageError
from lftreg.serving.access import is_local
from lftreg.serving.app import make_app, playground
from lftreg.serving.desk import Desk

HEADERS = 30.0  # seconds in which a connection has to bring a whole head of a request
CLOSING = 5  # seconds for answers to be read to their end


@dataclass(frozen=True, slots=True)
class Listening:
    """A socket that listens, and where."""

    socket: socket.socket
    host: str
    port: int

    @property
    def local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_local(self.socket.getsockname()[0])

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


def listen(host: str, port: int) -> Listening:
    """Take a port; 0 takes a free one. Raises UsageError where that cannot be."""
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError) as error:
        raise UsageError(
            f"{host!r} is no address of this machine", "127.0.0.1, or 0.0.0.0 for all", code="unknown-host"
        ) from error
    taken = socket.socket(family, kind, proto)
    try:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        taken.bind(address)
        taken.listen(2048)
    except OSError as error:
        taken.close()
        raise _not_listening(host, port, error) from error
    return Listening(taken, host, taken.getsockname()[1])


def serve(
    desk: Desk,
    listening: Listening,
    ready: Callable[[], None],
    draining: Callable[[int], None] = lambda count: None,
) -> None:
    """Serve until a signal. `ready` is called once everything is loaded, `draining` with how many are waited for.

    Raises what loading raises, and Interrupted where a second signal cut requests off.
    """
    front = Front(desk, listening, ready, draining)
    try:
        front.run(sockets=[listening.socket])
    finally:
        listening.socket.close()
        desk.close()
    if front.failure is not None:
        raise front.failure
    if front.forced:
        raise Interrupted("stopped at once, on request", "one Ctrl-C lets requests end first")


class Front(uvicorn.Server):
    """uvicorn's server, which loads when it listens already, and drains before it ends."""

    def __init__(
        self,
        desk: Desk,
        listening: Listening,
        ready: Callable[[], None] = lambda: None,
        draining: Callable[[int], None] = lambda count: None,
    ) -> None:
        logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)  # faults of ours are in our own log
        self.app = make_app(desk)
        super().__init__(
            uvicorn.Config(
                self.app,
                http=Protocol,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=CLOSING,
            )
        )
        self.desk, self.listening = desk, listening
        self._ready, self._draining = ready, draining
        self.failure: BaseException | None = None
        self.forced = False
        self._until = 0.0
        self._told = False  # whether those who watch know that answers are waited for

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """A signal: the first drains, the second ends."""
        if self.desk.draining:
            self.forced, self._until = True, 0.0
            self.config.timeout_graceful_shutdown = 1
        self.drain()

    def drain(self) -> None:
        """Take no request more, and end when those in flight have ended. Any thread may call it."""
        if not self.desk.draining:
            self._until = time.monotonic() + self.desk.options.drain
            self.desk.draining = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        loop = asyncio.get_running_loop()
        threading.Thread(target=self._load, args=(loop,), name="lftreg-load", daemon=True).start()

    async def on_tick(self, counter: int) -> bool:
        if await super().on_tick(counter):
            return True
        if not self.desk.draining:
            return False
        if self.desk.answering and time.monotonic() < self._until:
            if not self._told:
                self._told = True
                self._draining(self.desk.answering)
            return False
        await to_thread.run_sync(self.desk.close)  # those who were too slow are told
        return True

    def _load(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self.desk.load()
            loop.call_soon_threadsafe(self._open)
        except BaseException as error:  # noqa: BLE001 raised where the server was started
            self.failure = error
            self.should_exit = True

    def _open(self) -> None:
        try:
            self.app.router.routes.extend(playground(self.desk))
            self._ready()
        except BrokenPipeError:
            pass  # nobody reads what is told; others may ask all the same
        except Exception as error:  # noqa: BLE001 as above
            self.failure, self.should_exit = error, True


class Protocol(H11Protocol):
    """uvicorn's, where a connection can be cut, and has to say something in time."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.app = partial(_with_abort, self.app, transport.abort)
        self.loop.call_later(HEADERS, self._check_begun)

    def _check_begun(self) -> None:
        begun: Any = self.scope  # which uvicorn has as None until then, and says otherwise
        if begun is None:
            self.transport.abort()


async def _with_abort(app: Any, abort: Callable[[], None], scope: Any, receive: Any, send: Any) -> None:
    scope["lftreg.abort"] = abort
    await app(scope, receive, send)


def _not_listening(host: str, port: int, error: OSError) -> UsageError:
    if error.errno == errno.EADDRINUSE:
        return UsageError(
            f"port {port} of {host} is taken", "--port 0 takes a free one, or stop what listens there",
            code="port-taken",
        )  # fmt: skip
    if error.errno in (errno.EACCES, errno.EPERM):
        return UsageError(f"port {port} is not for everybody", "take one from 1024 on", code="port-refused")
    if error.errno == errno.EADDRNOTAVAIL:
        return UsageError(f"{host} is no address of this machine", "127.0.0.1, or 0.0.0.0 for all")
    return UsageError(f"{host}:{port} cannot be listened to: {error.strerror}", "try --port 0")
