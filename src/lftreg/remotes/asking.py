"""The hub's own client, made patient: deadlines, tries with growing pauses, and errors that say what happened.

huggingface_hub repeats some of its requests and not others, waits as long as a server says, and sets no limit
to an answer that never ends. So all of its requests go through one place here, which repeats those that may be
repeated. Those that may not (a commit, a tag, an upload) raise `Lost`, and whoever made them looks what became of them.
"""

from __future__ import annotations

import contextlib
import importlib
import logging
import os
import random
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from lftreg.errors import (
    LftregError,
    Unavailable,
    UsageError,
)
from lftreg.plugins.types import Patience, Told
from lftreg.remotes.failures import Lost, lost_of, nonsense, told_as_ours
from lftreg.remotes.line import Line
from lftreg.scrub import scrub

if TYPE_CHECKING:
    from huggingface_hub import HfApi

T = TypeVar("T")

HUB = "https://huggingface.co"
BUSY = (408, 429, 500, 502, 503, 504)
LARGEST_ANSWER = 64 * 2**20  # bytes of an answer that is no file
# What may be asked twice: reading, and what only prepares a change.
_REPEATABLE = re.compile(r"/preupload/|/info/lfs/objects/batch$|/validate-yaml$|/paths-info/")
_ONE_AT_A_TIME = threading.RLock()  # the client's settings are those of the process


@dataclass
class Asking:
    """A conversation with one hub. `sent` counts the bytes of files that it has taken."""

    api: HfApi
    endpoint: str
    patience: Patience
    told: Told
    line: Line
    ends: float = 0.0
    sent: int = 0
    title: str = ""
    library: Any = field(default=None, repr=False)

    @property
    def host(self) -> str:
        return urlsplit(self.endpoint).netloc.rpartition("@")[2]

    def left(self) -> float:
        """Seconds that are left. Raises Unavailable where there are none."""
        left = self.ends - time.monotonic()
        if left <= 0:
            raise self._late()
        return left

    def _late(self) -> Unavailable:
        return Unavailable(
            f"{self.host} did not finish within {self.patience.whole:g} seconds",
            "try again: what was sent whole is not sent again; `lftreg config set remote_deadline` gives it more",
            code="remote-deadline",
        )

    def pause(self, turn: int, wait: float | None = None) -> None:
        """Wait before the next try, as long as the server asked for or longer each time."""
        patience, left = self.patience, self.left()
        if wait is None:
            wait = min(patience.longest, patience.pause * 2 ** (turn - 1)) * random.uniform(0.75, 1.25)
            if wait >= left:
                raise self._late()
        if wait >= left:
            raise Unavailable(
                f"{self.host} asks to wait for {wait:.0f} seconds, which is longer than it may take",
                "try again later",
                code="rate-limited",
            )
        self.told(f"{self.host} does not answer, asking again", 0, 0)
        time.sleep(wait)

    def repeat(self, ask: Callable[[], T]) -> T:
        """Do what may be done twice until it is answered."""
        for turn in range(1, self.patience.tries + 1):
            try:
                return ask()
            except Exception as error:
                lost = lost_of(error)
                if lost is None or lost.tried or turn == self.patience.tries:
                    raise
                self.pause(turn, lost.wait)
        raise AssertionError("unreachable")


def endpoint() -> str:
    """Where the hub is, as the environment says now. Raises UsageError for what is no address."""
    found = (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")
    parts = urlsplit(found)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
        raise UsageError(
            f"HF_ENDPOINT is {scrub(found)!r}, which is no address of a hub",
            "such as https://hub.example.org; a token belongs into HF_TOKEN",
            code="endpoint",
        )
    return found


@contextmanager
def asking(patience: Patience, told: Told) -> Iterator[Asking]:
    """Talk to the hub of HF_ENDPOINT; whatever goes wrong within is an error of ours, without secrets.

    Nothing of what the client raises is kept as a cause: a server may have put a token into it.
    """
    if _is_set("HF_HUB_OFFLINE") or _is_set("TRANSFORMERS_OFFLINE"):
        raise Unavailable(
            "offline mode is on, so the hub is not asked",
            "unset HF_HUB_OFFLINE; `folder:PATH` shares without a network",
            code="offline",
        )
    at = endpoint()
    from huggingface_hub import HfApi

    with _ONE_AT_A_TIME, Line(patience.whole) as line:
        hub = Asking(HfApi(endpoint=at), at, patience, told, line, ends=time.monotonic() + patience.whole)
        failure: LftregError
        with _settings(hub):
            try:
                yield hub
                return
            except Exception as error:  # noqa: BLE001 see above
                failure = told_as_ours(error, hub)
        raise failure from None


@contextmanager
def _settings(hub: Asking) -> Iterator[None]:
    """The client's settings for the time of a conversation, and those from before after it."""
    from huggingface_hub import constants, set_client_factory
    from huggingface_hub.utils import _http as http
    from huggingface_hub.utils.tqdm import (
        are_progress_bars_disabled,
        disable_progress_bars,
        enable_progress_bars,
    )

    shown = not are_progress_bars_disabled()
    logger = logging.getLogger("huggingface_hub")
    level, factory = logger.level, http._GLOBAL_CLIENT_FACTORY
    # Xet knows none of our deadlines, and fails against a server without it; adapters are small.
    ours = {"HF_HUB_DISABLE_XET": True, "HF_HUB_OFFLINE": False}
    before = {name: getattr(constants, name) for name in ours}
    if shown:
        disable_progress_bars()
    logger.setLevel(logging.CRITICAL)
    set_client_factory(lambda: _patient(factory(), hub))
    for name, value in ours.items():
        setattr(constants, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(constants, name, value)
        set_client_factory(factory)
        logger.setLevel(level)
        if shown:
            enable_progress_bars()


def _patient(client: Any, hub: Asking) -> Any:
    """A client of httpx, whichever of its names, whose every request keeps to what `hub` allows."""
    hub.library = importlib.import_module(type(client).__mro__[-3].__module__.partition(".")[0])
    send = client.send
    # What is asked for is what is counted: a packed answer may grow a thousandfold in memory.
    client.headers["Accept-Encoding"] = "identity"
    hooks = (
        client.event_hooks
    )  # which see every answer, those on the way of a redirect too, before its body is read
    client.event_hooks = {**hooks, "response": [*hooks["response"], lambda response: _watch(response, hub)]}

    def patiently(request: Any, *, stream: bool = False, **options: Any) -> Any:
        repeatable = request.method in ("GET", "HEAD") or (
            request.method == "POST" and _REPEATABLE.search(request.url.path) is not None
        )
        if request.method == "PUT":
            request.stream = _counted(request, hub)
        for turn in range(1, hub.patience.tries + 1):
            try:
                return _once(send, request, hub, stream, options)
            except Lost as lost:
                lost.tried = repeatable and turn == hub.patience.tries
                if not repeatable or lost.tried:
                    raise
                wait = lost.wait
            hub.pause(turn, wait)
        raise AssertionError("unreachable")

    client.send = patiently
    return client


def _once(send: Callable[..., Any], request: Any, hub: Asking, stream: bool, options: dict[str, Any]) -> Any:
    """One try. Raises Lost where no answer came, or the server was busy."""
    left, patience = hub.left(), hub.patience
    silence = min(patience.silence, left)
    request.extensions = dict(request.extensions) | {
        "timeout": {"connect": min(patience.connect, left), "read": silence, "write": silence, "pool": left},
        "lftreg-file": stream,
        "trace": hub.line.heard,
    }
    path = request.url.path
    try:
        response = send(request, stream=True, **options)
        if response.status_code in BUSY:
            wait = _retry_after(response)
            response.close()
            raise Lost(f"HTTP {response.status_code}", path, response.status_code, wait)
        if not stream or response.status_code >= 400:
            response.read()
    except hub.library.TransportError as error:
        raise Lost(str(error) or type(error).__name__, path) from None
    if request.method == "PUT" and response.status_code < 300:
        hub.sent += int(request.headers.get("Content-Length", 0))
    return response


def _watch(response: Any, hub: Asking) -> None:
    """Hold the body of an answer to what may be read of it; only that of a file is as long as the file."""
    packed = response.headers.get("Content-Encoding", "identity").strip().lower()
    if packed not in ("", "identity"):
        raise nonsense(hub, f"an answer that is packed as {packed[:20]!r}, and nobody asked for that")
    of_file = response.request.extensions.get("lftreg-file") and not response.has_redirect_location
    response.stream = _watched(response.stream, hub, None if of_file else LARGEST_ANSWER)


def _watched(stream: Any, hub: Asking, largest: int | None) -> Any:
    """The body of an answer, that ends at the deadline, and where it is too large."""

    class Watched(hub.library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            size = 0
            for chunk in stream:
                hub.left()
                size += len(chunk)
                if largest is not None and size > largest:
                    raise nonsense(hub, f"an answer of more than {largest >> 20} MiB")
                yield chunk

        def close(self) -> None:
            with contextlib.suppress(Exception):
                stream.close()

    return Watched()


def _counted(request: Any, hub: Asking) -> Any:
    """The body of an upload, that tells how far it has come."""
    stream, total = request.stream, int(request.headers.get("Content-Length", 0))

    class Counted(hub.library.SyncByteStream):  # type: ignore[misc, name-defined]
        def __iter__(self) -> Iterator[bytes]:
            done = 0
            for chunk in stream:
                hub.left()
                yield chunk
                done += len(chunk)
                hub.told(f"sending {hub.title}".rstrip(), done, total)

    return Counted()


def _retry_after(response: Any) -> float | None:
    text = response.headers.get("Retry-After", "").strip()
    return float(text) if text.isdecimal() and len(text) < 10 else None


def _is_set(variable: str) -> bool:
    return os.environ.get(variable, "").strip().upper() in ("1", "ON", "YES", "TRUE")
