"""Who did what, and when: a line for every change, written in the transaction that makes it."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import Connection, select

from lftreg.registry import schema as t
from lftreg.registry.rows import adding, now

ACTIONS = (
    "register", "alias", "unalias", "tag", "rm", "restore", "purge", "score", "prefer", "key", "unkey", "migrate",
    "damage", "heal", "push", "pull",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """One change. `subject` is the adapter's name, or what else was changed; `number` and `digest` its version's."""

    id: int
    at: datetime
    who: str
    host: str
    action: str
    subject: str
    number: int | None
    digest: str | None
    details: Mapping[str, Any]

    @property
    def ref(self) -> str:
        return self.subject if self.number is None else f"{self.subject}@{self.number}"


def write(
    connection: Connection,
    action: str,
    subject: str,
    number: int | None = None,
    digest: str | None = None,
    **details: Any,
) -> None:
    """Add a line. `details` are what JSON can hold."""
    assert action in ACTIONS, action
    user, host = who()
    row = {"at": now(), "who": user, "host": host, "action": action, "subject": subject, "number": number}
    connection.execute(adding(t.log), {**row, "digest": digest, "details": details})


def read(
    connection: Connection,
    *,
    subject: str | None = None,
    number: int | None = None,
    action: str | None = None,
    who: str | None = None,
    since: datetime | None = None,
    before: int | None = None,
    limit: int | None = None,
) -> list[Entry]:
    """Changes, the newest first. `before` is the id of an entry: what is older than it."""
    c = t.log.c
    query = select(t.log).order_by(c.id.desc()).limit(limit)
    for column, value in ((c.subject, subject), (c.number, number), (c.action, action), (c.who, who)):
        if value is not None:
            query = query.where(column == value)
    if since is not None:
        query = query.where(c.at >= since.astimezone(UTC).replace(tzinfo=None))
    if before is not None:
        query = query.where(c.id < before)
    rows = connection.execute(query).mappings()
    return [Entry(**{**row, "at": row["at"].replace(tzinfo=UTC)}) for row in rows]


@lru_cache(maxsize=1)
def who() -> tuple[str, str]:
    """Who is at work, and on which machine: `LFTREG_USER`, or the name of the login."""
    try:
        user = os.environ.get("LFTREG_USER") or getpass.getuser()
    except (OSError, KeyError):  # a container may know no name for its user
        user = f"uid {os.getuid()}"
    return user, socket.gethostname()
