"""Finding one version by its REF, and the brief list of all versions on a base."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC
from typing import Any

from sqlalchemy import Boolean, Connection, and_, bindparam, func, or_, select

from lftreg.errors import InvalidReference, NotFound, unknown
from lftreg.registry import schema as t
from lftreg.registry.records import Listed, Version
from lftreg.registry.ref import Ref, parse_ref
from lftreg.registry.rows import SELECT, fetch_pairs

# The questions of `find`, written once: with `removed` true, or else only what is not in the bin.
_NAMED = SELECT.where(
    t.adapters.c.name == bindparam("name"),
    or_(bindparam("removed", type_=Boolean), t.versions.c.removed_at.is_(None)),
)
_NEWEST = _NAMED.order_by(t.versions.c.number.desc()).limit(1)
_NUMBERED = _NAMED.where(t.versions.c.number == bindparam("number"))
_ALIASED = _NAMED.join(
    t.aliases,
    and_(t.aliases.c.version_id == t.versions.c.id, t.aliases.c.adapter_id == t.adapters.c.id),
).where(t.aliases.c.alias == bindparam("alias"))
# Digests are hexadecimal, and "g" is behind all of them: a range is served by an index everywhere.
_BEGINNING = _NAMED.where(t.versions.c.digest >= bindparam("first"), t.versions.c.digest < bindparam("last"))


def find(connection: Connection, ref: Ref | str, *, removed: bool = False) -> Version:
    """The version a REF names. Raises NotFound with the nearest known name."""
    return find_pair(connection, ref, removed=removed)[1]


def find_pair(connection: Connection, ref: Ref | str, *, removed: bool = False) -> tuple[int, Version]:
    """The version a REF names, with the id of its row. Raises NotFound with the nearest known name."""
    wanted = parse_ref(ref) if isinstance(ref, str) else ref
    if wanted.name is None:
        how = f"lftreg pull {wanted}" if wanted.hub else "lftreg import FOLDER"
        raise InvalidReference(f"{wanted} is not in the registry", f"take it in first: {how}")
    found = _fetch(connection, wanted, removed)
    if not found:
        raise _not_found(connection, wanted, in_bin=not removed and bool(_fetch(connection, wanted, True)))
    if len({version.digest for _, version in found}) > 1:
        raise InvalidReference(f"{wanted} fits several versions", "give more digits of the digest")
    return found[0]


def _fetch(connection: Connection, wanted: Ref, removed: bool) -> list[tuple[int, Version]]:
    asked: dict[str, Any] = {"name": wanted.name, "removed": removed}
    if wanted.number is not None:
        query, asked["number"] = _NUMBERED, wanted.number
    elif wanted.digest is not None:
        query = _BEGINNING.order_by(t.versions.c.number.desc())
        asked |= {"first": wanted.digest, "last": wanted.digest + "g"}
    elif wanted.alias is not None:
        query, asked["alias"] = _ALIASED, wanted.alias
    else:
        query = _NEWEST
    return fetch_pairs(connection, query, asked)


def listed(connection: Connection, base: str) -> list[Listed]:
    """Every version on a base, adapters by name, newer versions first: two queries, however many."""
    v = t.versions.c
    here = and_(v.base == base, v.removed_at.is_(None))
    aliases: dict[int, list[str]] = defaultdict(list)
    named = select(t.aliases.c.version_id, t.aliases.c.alias).join(t.versions, v.id == t.aliases.c.version_id)
    for version_id, alias in connection.execute(named.where(here).order_by(t.aliases.c.alias)):
        aliases[version_id].append(alias)
    newest = (
        select(v.adapter_id, func.max(v.number).label("number"))
        .where(v.removed_at.is_(None))
        .group_by(v.adapter_id)
        .subquery()
    )
    query = (
        select(v.id, t.adapters.c.name, v.number, newest.c.number.label("last"), v.digest, v.kind, v.domain)
        .add_columns(v.rank, v.created_at)
        .join(t.adapters, t.adapters.c.id == v.adapter_id)
        .join(newest, newest.c.adapter_id == v.adapter_id)
        .where(here)
        .order_by(t.adapters.c.name, v.number.desc())
    )
    return [
        Listed(
            name,
            number,
            digest,
            kind,
            domain,
            rank,
            at.replace(tzinfo=UTC),
            tuple(aliases[id_]),
            number == last,
        )
        for id_, name, number, last, digest, kind, domain, rank, at in connection.execute(query)
    ]


def _not_found(connection: Connection, ref: Ref, *, in_bin: bool) -> NotFound:
    rows: Sequence[str] = connection.scalars(select(t.adapters.c.name)).all()
    if ref.name not in rows:
        return unknown("adapter", str(ref.name), rows, "`lftreg list` shows what is there")
    held = (
        select(t.aliases.c.alias, t.versions.c.number)
        .select_from(t.aliases)
        .join(t.versions, t.versions.c.id == t.aliases.c.version_id)
        .join(t.adapters, t.adapters.c.id == t.aliases.c.adapter_id)
    )
    known = {row.alias: row.number for row in connection.execute(held.where(t.adapters.c.name == ref.name))}
    if ref.alias in known:  # of a version in the bin, or it would have been found
        held_by = f"{ref.name}@{known[ref.alias]}"
        return NotFound(
            f"{ref} is {held_by}, which is removed",
            f"`lftreg restore {held_by}`, or give the alias to another",
            code="unknown-version",
        )
    if ref.alias is not None:
        error = unknown(
            "alias", ref.alias, known, f"`lftreg list --all --name {ref.name}` shows its versions"
        )
        return NotFound(
            f"{ref.name} has no alias {ref.alias!r}.{error.message.partition('.')[2]}",
            error.hint,
            code=error.code,
        )
    if in_bin:
        one = ref.number is not None or ref.digest is not None
        return NotFound(
            f"{ref} is removed" if one else f"every version of {ref.name!r} is removed",
            f"`lftreg restore {ref}` brings {'it' if one else 'them'} back",
            code="unknown-version",
        )
    which = f"no version {ref}" if ref.number or ref.digest else f"no version of {ref.name!r}"
    return NotFound(
        f"there is {which}",
        f"`lftreg list --all --name {ref.name}`, or --removed, shows what is",
        code="unknown-version",
    )
