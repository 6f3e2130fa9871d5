"""Keys of those who may ask a server. Of a token only its sha256 is kept: it is shown once and cannot be read again."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

from sqlalchemy import Connection, delete, insert, select

from lftreg.errors import InvalidName, UsageError, unknown
from lftreg.registry import log
from lftreg.registry import schema as t
from lftreg.registry.ref import check_name
from lftreg.registry.rows import now

Open = Callable[[], AbstractContextManager[Connection]]
MayBe = Callable[[], AbstractContextManager[Connection | None]]

SCOPES = ("generate", "models", "metrics", "admin")  # admin may do what all the others may
PATTERN = re.compile(r"[\w./@*?\[\]!:-]{1,200}", re.ASCII)  # of adapters, and of bases by their ids
PREFIX = "lft-"  # what tokens begin with, so that they are known where they should not stand


@dataclass(frozen=True, slots=True)
class Key:
    """Who may do what. `adapters` are patterns of names, such as `support*`; none at all means every name."""

    name: str
    scopes: tuple[str, ...]
    adapters: tuple[str, ...] = ()
    per_minute: int | None = None
    concurrent: int | None = None
    created_at: datetime | None = None
    expires_at: datetime | None = None

    @property
    def expired(self) -> bool:
        return self.expires_at is not None and self.expires_at <= datetime.now(UTC)

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes

    def may_ask(self, adapter: str) -> bool:
        """Whether an adapter of this name, or a base of this id, is meant for it."""
        return not self.adapters or any(fnmatchcase(adapter, pattern) for pattern in self.adapters)


Found = list[Key]  # inside the class `list` is its verb


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a registry. `Registry.keys` makes it."""

    reading: MayBe
    writing: Open

    def add(
        self,
        name: str,
        scopes: Sequence[str] = ("generate", "models"),
        *,
        adapters: Sequence[str] = (),
        per_minute: int | None = None,
        concurrent: int | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[str, Key]:
        """A new token and its key. Raises UsageError for a name that is taken or a scope that is none."""
        check_name(name)
        for scope in scopes:
            if scope not in SCOPES:
                raise UsageError(f"unknown scope {scope!r}", f"one of {', '.join(SCOPES)}")
        for pattern in adapters:
            if not PATTERN.fullmatch(pattern):
                raise InvalidName(
                    f"{pattern[:80]!r} is no pattern of names", "such as 'support*'", code="invalid-pattern"
                )
        if not scopes:
            raise UsageError("a key without a scope opens nothing", f"some of {', '.join(SCOPES)}")
        token = PREFIX + secrets.token_urlsafe(32)
        row: dict[str, Any] = {
            "name": name,
            "sha256": _sha256(token),
            "scopes": list(dict.fromkeys(scopes)),
            "adapters": list(dict.fromkeys(adapters)),
            "per_minute": per_minute,
            "concurrent": concurrent,
            "created_at": now(),
            "expires_at": None if expires_at is None else expires_at.astimezone(UTC).replace(tzinfo=None),
        }
        with self.writing() as connection:
            if connection.scalar(select(t.keys.c.name).where(t.keys.c.name == name)) is not None:
                raise UsageError(
                    f"there is a key {name!r} already",
                    f"another name, or `lftreg keys rm {name}` first",
                    code="key-exists",
                )
            connection.execute(insert(t.keys).values(row))
            log.write(connection, "key", name, scopes=row["scopes"])
        return token, _key(row)

    def list(self) -> Found:
        """All keys by name, expired ones among them."""
        with self.reading() as connection:
            query = select(t.keys).order_by(t.keys.c.name)
            return [] if connection is None else [_key(row) for row in connection.execute(query).mappings()]

    def any(self) -> bool:
        """Whether there is a key, even one that has expired: a server that asked for keys goes on to."""
        with self.reading() as connection:
            return connection is not None and connection.scalar(select(t.keys.c.name).limit(1)) is not None

    def find(self, token: str) -> Key | None:
        """The key of a token. None for one that is unknown or has expired."""
        sha256 = _sha256(token)
        with self.reading() as connection:
            if connection is None:
                return None
            row = connection.execute(select(t.keys).where(t.keys.c.sha256 == sha256)).mappings().first()
        if row is None or not hmac.compare_digest(row["sha256"], sha256):
            return None
        key = _key(row)
        return None if key.expired else key

    def remove(self, name: str) -> None:
        """Take a key away, from its next request on. Raises NotFound."""
        with self.writing() as connection:
            if not connection.execute(delete(t.keys).where(t.keys.c.name == name)).rowcount:
                names = connection.scalars(select(t.keys.c.name)).all()
                raise unknown("key", name, names, "`lftreg keys list` shows them")
            log.write(connection, "unkey", name)


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def _key(row: Any) -> Key:
    ends = row["expires_at"]
    return Key(
        row["name"],
        tuple(row["scopes"]),
        tuple(row["adapters"]),
        row["per_minute"],
        row["concurrent"],
        row["created_at"].replace(tzinfo=UTC),
        None if ends is None else ends.replace(tzinfo=UTC),
    )
