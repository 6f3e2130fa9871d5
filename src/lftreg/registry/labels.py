"""Tags, and aliases with their history. Every function is called within a transaction that writes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, bindparam, delete, select

from lftreg.errors import InvalidData
from lftreg.registry import log, lookup, words
from lftreg.registry import schema as t
from lftreg.registry.inserts import adapter_id
from lftreg.registry.records import AliasMove, Version
from lftreg.registry.ref import Ref, check_alias
from lftreg.registry.rows import adding, fetch_ids, now
from lftreg.scrub import holds_secret

LONGEST = 2000  # bytes of a value: an index of PostgreSQL holds 2,700 together with the key

_here = (t.aliases.c.adapter_id == bindparam("adapter")) & (t.aliases.c.alias == bindparam("alias"))
_HOLDERS = select(t.aliases.c.version_id).where(_here)
_TAKE = delete(t.aliases).where(_here)


def check_tags(tags: Mapping[str, str | None]) -> None:
    """Raises InvalidData for a key that is none, a value that no index would hold, and a token: tags are shared."""
    for key, value in tags.items():
        if not key or len(key) > 128 or not key.isprintable():
            raise InvalidData(
                f"tag {key[:80]!r} is not allowed", "use a short printable key", code="invalid-tag"
            )
        if holds_secret(f"{key}={value}"):
            raise InvalidData("the tag holds what looks like a token", "nothing was kept", code="secret")
        if value is not None and len(value.encode(errors="surrogatepass")) > LONGEST:
            raise InvalidData(
                f"the value of tag {key!r} has more than {LONGEST} bytes",
                "give a shorter one; README.md of an adapter has room for more",
                code="invalid-tag",
            )


def tag(connection: Connection, ref: str | Ref, tags: Mapping[str, str | None]) -> Version:
    version_id, version = lookup.find_pair(connection, ref)
    connection.execute(delete(t.tags).where(t.tags.c.version_id == version_id, t.tags.c.key.in_(tags)))
    rows = [{"version_id": version_id, "key": k, "value": v} for k, v in tags.items() if v is not None]
    if rows:
        connection.execute(adding(t.tags), rows)
    words.refresh(connection, [version_id])
    log.write(connection, "tag", version.name, version.number, version.digest, tags=dict(tags))
    return fetch_ids(connection, [version_id])[0]


def alias(connection: Connection, ref: str | Ref, name: str) -> Version:
    check_alias(name)
    version_id, version = lookup.find_pair(connection, ref)
    adapter = adapter_id(connection, version.name)
    if name in version.aliases:
        return version  # where it is already: no move
    before = _drop(connection, adapter, name)
    key: dict[str, Any] = {"adapter_id": adapter, "alias": name}
    connection.execute(adding(t.aliases), key | {"version_id": version_id})
    connection.execute(adding(t.alias_moves), key | {"number": version.number, "at": now()})
    words.refresh(connection, [version_id, *before])
    log.write(connection, "alias", version.name, version.number, version.digest, alias=name)
    return fetch_ids(connection, [version_id])[0]


def unalias(connection: Connection, name: str, alias: str) -> None:
    version = lookup.find(connection, Ref(name, alias=alias), removed=True)
    adapter = adapter_id(connection, name)
    before = _drop(connection, adapter, alias)
    connection.execute(
        adding(t.alias_moves), {"adapter_id": adapter, "alias": alias, "number": None, "at": now()}
    )
    words.refresh(connection, before)
    log.write(connection, "unalias", name, version.number, version.digest, alias=alias)


def history(connection: Connection, name: str, alias: str | None) -> list[AliasMove]:
    query = (
        select(t.alias_moves)
        .join(t.adapters, t.adapters.c.id == t.alias_moves.c.adapter_id)
        .where(t.adapters.c.name == name)
        .order_by(t.alias_moves.c.id)
    )
    if alias is not None:
        query = query.where(t.alias_moves.c.alias == alias)
    return [AliasMove(name, r.alias, r.number, r.at.replace(tzinfo=UTC)) for r in connection.execute(query)]


def _drop(connection: Connection, adapter: int, alias: str) -> list[int]:
    """Take an alias away. Returns the rows of the versions that had it."""
    here = {"adapter": adapter, "alias": alias}
    held = connection.scalars(_HOLDERS, here).all()
    if held:
        connection.execute(_TAKE, here)
    return list(held)
