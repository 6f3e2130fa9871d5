"""Who may ask what, and how often.

A server on this machine alone, with no key in its registry, is open to the programs of this machine; and to nothing
that a browser brings from elsewhere: not under a foreign name (DNS rebinding), not from a foreign page.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from anyio import to_thread
from starlette.requests import Request

from lftreg.errors import InvalidReference
from lftreg.models.base import FoundBase
from lftreg.models.generate import BASE_PREFIX
from lftreg.registry import Key, Registry, parse_weighted
from lftreg.registry.keys import SCOPES
from lftreg.serving.errors import Refused
from lftreg.serving.voices import Voice, base_name

ANYBODY = Key("anybody", SCOPES)
MINUTE = 60.0


class Access:
    """The door. `local` says that only this machine can reach it."""

    def __init__(self, registry: Registry, *, local: bool, origins: Sequence[str] = ()) -> None:
        self.registry, self.local, self.origins = registry, local, tuple(origins)

    async def admit(self, request: Request, scope: str | None) -> Key:
        """Who asks. `scope` is what the request needs, None for what everybody may see. Raises Refused."""
        key = await to_thread.run_sync(self._who, _token(request))
        if key is ANYBODY:
            self._check_local(request)
        if scope is None:
            return key or ANYBODY
        if key is None:
            told = "the API key is not known, or has expired" if _token(request) else "an API key is needed"
            raise Refused(
                401,
                told,
                "invalid_api_key",
                hint="send Authorization: Bearer KEY; `lftreg keys add NAME` makes one",
                headers={"WWW-Authenticate": "Bearer"},
            )
        if not key.may(scope):
            raise Refused(403, f"the key {key.name!r} has no scope {scope!r}", "missing_scope")
        return key

    def _who(self, token: str) -> Key | None:
        keys = self.registry.keys
        if self.local and not keys.any():
            return ANYBODY
        return keys.find(token) if token else None

    def _check_local(self, request: Request) -> None:
        host, origin = request.headers.get("host", ""), request.headers.get("origin")
        if not is_local(_name(host)):
            raise Refused(403, f"this server answers to localhost, not to {host[:80]!r}", "foreign_host")
        if origin is not None and not self._may_come_from(origin):
            raise Refused(
                403,
                f"pages of {origin[:80]!r} may not ask",
                "foreign_origin",
                hint="lftreg serve --cors ORIGIN",
            )

    def _may_come_from(self, origin: str) -> bool:
        return "*" in self.origins or origin in self.origins or is_local(_host_of(origin))


def check_asked(key: Key, asked: str, base: FoundBase) -> None:
    """Raise Refused where a key is not meant for an adapter, before anything is said of whether there is one."""
    if not key.adapters:
        return
    bare = asked.startswith(BASE_PREFIX) or asked == base.record.id
    for name in [base_name(base)] if bare else _names(asked):
        if not key.may_ask(name):
            raise Refused(
                403,
                f"the key {key.name!r} is not meant for {name[:80]!r}",
                "adapter_not_allowed",
                param="model",
            )


def _names(asked: str) -> list[str]:
    """The names of a sum, each by itself: what is none stays as it is written, and never speaks for the others."""
    return [_bare_name(part.strip()) for part in asked.split("+")]


def _bare_name(part: str) -> str:
    try:
        return str(parse_weighted(part)[0].name)
    except InvalidReference:
        return part


@dataclass(slots=True)
class Bucket:
    """What is left of a minute's requests, and how many are going on."""

    left: float
    at: float = field(default_factory=time.monotonic)
    going: int = 0


class Limits:
    """Requests a minute and at once, by key and by adapter. Called on the event loop only."""

    def __init__(self, per_minute: int | None = None, concurrent: int | None = None) -> None:
        """These hold for each adapter; a key brings its own."""
        self.per_minute, self.concurrent = per_minute, concurrent
        self._buckets: dict[tuple[str, str], Bucket] = {}

    def take_key(self, key: Key) -> Callable[[], None]:
        """Count a request of a key; what comes back is to be called when it has ended. Raises Refused (429)."""
        return self._take(("key", key.name), key.per_minute, key.concurrent)

    def take_adapter(self, voice: Voice, base: str) -> Callable[[], None]:
        """The same for the adapters of a voice."""
        names = sorted({version.name for version in voice.versions}) or [base]
        taken: list[Callable[[], None]] = []

        def free() -> None:
            while taken:
                taken.pop()()

        try:
            for name in names:
                taken.append(self._take(("adapter", name), self.per_minute, self.concurrent))
        except Refused:
            free()
            raise
        return free

    def _take(
        self, who: tuple[str, str], per_minute: int | None, concurrent: int | None
    ) -> Callable[[], None]:
        if per_minute is None and concurrent is None:
            return lambda: None
        bucket = self._buckets.setdefault(who, Bucket(float(per_minute or 0)))
        what = f"{who[0]} {who[1]!r}"
        if concurrent is not None and bucket.going >= concurrent:
            raise Refused(
                429, f"{what}: {concurrent} requests at once already", "rate_limit_exceeded", retry=1
            )
        if per_minute is not None:
            now = time.monotonic()
            bucket.left = min(per_minute, bucket.left + (now - bucket.at) * per_minute / MINUTE)
            bucket.at = now
            if bucket.left < 1:
                wait = (1 - bucket.left) * MINUTE / per_minute
                raise Refused(
                    429, f"{what}: {per_minute} requests a minute", "rate_limit_exceeded", retry=wait
                )
            bucket.left -= 1
        bucket.going += 1

        def free() -> None:
            bucket.going -= 1

        return free


def is_local(host: str) -> bool:
    """Whether a name or an address can only mean this machine."""
    if host.lower().rstrip(".") == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _name(host: str) -> str:
    """A Host header without its port."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _host_of(origin: str) -> str:
    try:
        return urlsplit(origin).hostname or ""
    except ValueError:
        return ""


def _token(request: Request) -> str:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
