"""What goes wrong with a hub, request by request, by a plan that a seed makes."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

from tests.hub.state import Asked, State

BUSY, SLOW_DOWN, STALL, CUT, HALF_SENT = "busy", "slow-down", "stall", "cut", "half-sent"
LOST, TRUNCATED, SHORT, CORRUPT, DRIP, GARBAGE = "lost", "truncated", "short", "corrupt", "drip", "garbage"
RIVAL, RIVAL_ELSEWHERE, MOVED, PATHS, WRONG_SHA256 = (
    "rival", "rival-elsewhere", "moved", "paths", "wrong-sha256",
)  # fmt: skip
# By hand only, as each keeps on for as long as its client lets it.
SLOW_HEADERS, SLOW_DETOUR, ENDLESS_DETOUR, PACKED = "slow-headers", "slow-detour", "endless-detour", "packed"
ANYWHERE = (BUSY, SLOW_DOWN, STALL, CUT, LOST, TRUNCATED, GARBAGE)
# What else may happen to a request of a kind.
OF_KIND: dict[str, tuple[str, ...]] = {
    "put": (HALF_SENT, HALF_SENT),
    "commit": (RIVAL, RIVAL_ELSEWHERE, LOST, LOST, LOST),
    "tag": (LOST,),
    "create": (LOST,),
    "info": (MOVED, MOVED),
    "tree": (PATHS, WRONG_SHA256, MOVED),
    "resolve": (CORRUPT, SHORT, DRIP, CORRUPT),
    "cdn": (CORRUPT, SHORT, DRIP, TRUNCATED, CORRUPT),
}
BAD_PATHS = (
    "../../stolen",
    "/etc/cron.d/x",
    "a/../../b",
    "C:\\x",
    "a\\..\\b",
    "",
    "x\x00y",
    "a//b",
    "./x",
    "\u202ex",
)


@dataclass
class Fault:
    """One thing that goes wrong with one request."""

    kind: str
    seed: int = 0
    stall: float = 0.6  # seconds that nothing is said, longer than the client waits
    wait: int = 0  # what Retry-After says

    def before(self, handler: Any, length: int) -> bool:
        """Act before the request is looked at. True where that is the end of it."""
        if self.kind in (BUSY, SLOW_DOWN):
            handler._body(length)
            status, told = (503, b"") if self.kind == BUSY else (429, b"Retry-After: %d\r\n" % self.wait)
            _raw(handler, b"HTTP/1.1 %d Busy\r\n%sContent-Length: 0\r\n\r\n" % (status, told))
            return True
        if self.kind == STALL:
            handler.hub.closing.wait(self.stall)
            _hang_up(handler)
            return True
        if self.kind == CUT:
            _hang_up(handler)
            return True
        if self.kind == HALF_SENT:
            handler.rfile.read(length // 2)
            _hang_up(handler)
            return True
        if self.kind in (SLOW_HEADERS, SLOW_DETOUR, ENDLESS_DETOUR, PACKED):
            handler._body(length)
            with contextlib.suppress(OSError):  # whoever asked has had enough
                self._keep_busy(handler)
                handler.hub.outlasted += 1
            handler.close_connection = True
            return True
        return False

    def _keep_busy(self, handler: Any) -> None:
        """An answer that a client can only be rid of by its own rules; it ends some day, so that a test does."""
        detour = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: %d\r\n\r\n"
        here = handler.path.encode()
        if self.kind == PACKED:
            body = _packed()
            handler.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
        elif self.kind == ENDLESS_DETOUR:
            handler.wfile.write(detour % (here, 100 << 20))
            for _ in range(100):
                handler.wfile.write(bytes(1 << 20))
        else:
            handler.wfile.write(
                b"HTTP/1.1 200 OK\r\nX-Slow: " if self.kind == SLOW_HEADERS else detour % (here, 100)
            )
            for _ in range(100):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                if handler.hub.closing.wait(0.05):
                    return

    def meanwhile(self, state: State, asked: Asked) -> None:
        """What somebody else does just before the request is answered."""
        repo = next((repo for name, repo in state.repos.items() if f"/{name}/" in f"{asked.path}/"), None)
        if repo is None:
            return
        if self.kind == RIVAL:
            repo.put({"README.md": b"# Somebody else's %d\n" % len(repo.commits)}, by="rival")
        elif self.kind == RIVAL_ELSEWHERE:
            repo.put({"notes.txt": b"%d" % len(repo.commits)}, by="rival")

    def afterwards(self, state: State, asked: Asked) -> None:
        """What somebody else does as soon as the answer is made: main and all tags name other content."""
        repo = next((repo for name, repo in state.repos.items() if f"/{name}/" in f"{asked.path}/"), None)
        if self.kind == MOVED and repo is not None:
            made = repo.put(
                {"adapter_config.json": b"{}", "adapter_model.safetensors": b"%d" % len(repo.commits)},
                by="mover",
            )
            for ref in [ref for ref in repo.refs if ref.startswith("refs/tags/")]:
                repo.refs[ref] = made.sha

    def cuts(self, body: bytes) -> bool:
        return self.kind in (TRUNCATED, LOST, DRIP)

    def write(self, handler: Any, body: bytes) -> None:
        """The part of a body that is sent before the connection ends."""
        if self.kind == DRIP:
            for at in range(len(body)):
                if handler.hub.closing.is_set():
                    break
                handler.wfile.write(body[at : at + 1])
                time.sleep(0.02)
        elif self.kind == TRUNCATED:
            handler.wfile.write(body[: len(body) // 2])
        _hang_up(handler)


def broken(fault: Fault, answer: Any, asked: Asked) -> Any:
    """An answer as the fault leaves it."""
    draw = random.Random(fault.seed)
    if fault.kind == LOST:
        raise ConnectionAbortedError  # all is done, and nothing is said
    if fault.kind == GARBAGE and answer.status < 300:
        return replace(
            answer, body=b"<html>the Wi-Fi of this hotel</html>", headers={"Content-Type": "text/html"}
        )
    if fault.kind in (CORRUPT, SHORT) and answer.body and answer.status < 300:
        body = bytearray(answer.body)
        if fault.kind == SHORT:
            return replace(answer, body=bytes(body[:-1]))
        body[draw.randrange(len(body))] ^= 1 << draw.randrange(8)
        return replace(answer, body=bytes(body))
    if fault.kind in (PATHS, WRONG_SHA256) and asked.kind == "tree" and answer.status == 200:
        items = json.loads(answer.body)
        if fault.kind == PATHS:
            items.append({"type": "file", "path": draw.choice(BAD_PATHS), "size": 3, "oid": "0" * 40})
        for item in items:
            if fault.kind == WRONG_SHA256 and "lfs" in item:
                item["lfs"]["oid"] = "0" * 64
        return replace(answer, body=json.dumps(items).encode())
    return answer


def _raw(handler: Any, content: bytes) -> None:
    try:
        handler.wfile.write(content)
        handler.wfile.flush()
    except OSError:
        pass


def _hang_up(handler: Any) -> None:
    try:
        handler.wfile.flush()
        handler.connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


@dataclass
class Plan:
    """Faults drawn by a seed: each request has one with probability `rate`, until `most` have happened."""

    seed: int
    rate: float = 0.25
    most: int = 4
    stall: float = 0.6
    allowed: Callable[[str, str], bool] = lambda kind, fault: True
    happened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._draw = random.Random(self.seed)

    def __call__(self, asked: Asked) -> Fault | None:
        if len(self.happened) >= self.most or self._draw.random() >= self.rate:
            return None
        kinds = [kind for kind in (*ANYWHERE, *OF_KIND.get(asked.kind, ())) if self.allowed(asked.kind, kind)]
        kind = self._draw.choice(kinds)
        self.happened.append(f"{kind} of {asked.kind}")
        return Fault(kind, self._draw.randrange(2**30), self.stall, self._draw.choice((0, 0, 0, 1, 3600)))


@cache
def _packed() -> bytes:
    """A hundred MB of nothing as gzip."""
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(100)) + packer.flush()


def at(kind: str, fault: str, times: Iterable[int] = (1,), **fields: Any) -> Callable[[Asked], Fault | None]:
    """A plan by hand: this fault with the first, or these, requests of a kind."""
    seen = 0
    wanted = set(times)
    if fault == PACKED:
        _packed()  # now, as the client does not wait for it

    def plan(asked: Asked) -> Fault | None:
        nonlocal seen
        if asked.kind != kind:
            return None
        seen += 1
        return Fault(fault, **fields) if seen in wanted else None

    return plan
