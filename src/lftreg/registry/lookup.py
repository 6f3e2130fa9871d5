"""Finding versions: by REF, by filter, by words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, String, and_, cast, exists, func, or_, select

from lftreg.errors import InvalidReference, NotFound, unknown
from lftreg.registry import schema as t
from lftreg.registry.records import Version
from lftreg.registry.ref import Ref, parse_ref
from lftreg.registry.rows import SELECT, fetch

NEWEST_FIRST = (t.versions.c.created_at.desc(), t.versions.c.id.desc())


def find(connection: Connection, ref: Ref | str, *, removed: bool = False) -> Version:
    """The version a REF names. Raises NotFound with the nearest known name."""
    wanted = parse_ref(ref) if isinstance(ref, str) else ref
    if wanted.name is None:
        raise InvalidReference(f"{wanted} is not in the registry", "`lftreg import` takes in a folder first")
    query = SELECT.where(t.adapters.c.name == wanted.name)
    if not removed:
        query = query.where(t.versions.c.removed_at.is_(None))
    if wanted.number is not None:
        query = query.where(t.versions.c.number == wanted.number)
    elif wanted.digest is not None:
        query = query.where(t.versions.c.digest.startswith(wanted.digest))
    elif wanted.alias is not None:
        query = query.join(t.aliases, t.aliases.c.version_id == t.versions.c.id)
        query = query.where(t.aliases.c.alias == wanted.alias)
    versions = fetch(connection, query.order_by(t.versions.c.number.desc()).limit(2 if wanted.digest else 1))
    if not versions:
        raise _not_found(connection, wanted)
    if len({version.digest for version in versions}) > 1:
        raise InvalidReference(f"{wanted} fits several versions", "give more digits of the digest")
    return versions[0]


def select_versions(
    connection: Connection,
    *,
    all_versions: bool = False,
    name: str | None = None,
    domain: str | None = None,
    base: str | None = None,
    kind: str | None = None,
    digest: str | None = None,
    tags: Mapping[str, str] | None = None,
    removed: bool = False,
    limit: int | None = None,
) -> list[Version]:
    """Versions newest first; one an adapter unless `all_versions`."""
    v = t.versions.c
    conditions: list[ColumnElement[bool]] = [v.removed_at.is_not(None) if removed else v.removed_at.is_(None)]
    if name is not None:
        conditions.append(t.adapters.c.name == name)
    if domain is not None:
        conditions.append(v.domain == domain)
    if base is not None:
        conditions.append(or_(v.base_id == base, v.base == base))
    if kind is not None:
        conditions.append(v.kind == kind)
    if digest is not None:
        conditions.append(v.digest == digest)
    for key, value in (tags or {}).items():
        conditions.append(
            exists().where(t.tags.c.version_id == v.id, t.tags.c.key == key, t.tags.c.value == value)
        )
    if not all_versions and not removed:
        newer = t.versions.alias("newer")
        conditions.append(
            ~exists().where(
                newer.c.adapter_id == v.adapter_id, newer.c.number > v.number, newer.c.removed_at.is_(None)
            )
        )
    return fetch(connection, SELECT.where(and_(*conditions)).order_by(*NEWEST_FIRST).limit(limit))


def search(connection: Connection, text: str, limit: int) -> list[Version]:
    """Versions in which every word of `text` occurs: in a name, alias, tag, domain, base or method."""
    query = SELECT.where(t.versions.c.removed_at.is_(None))
    for word in text.lower().split():
        query = query.where(_mentions(word))
    return fetch(connection, query.order_by(*NEWEST_FIRST).limit(limit))


def _mentions(word: str) -> ColumnElement[bool]:
    v = t.versions.c

    def within(column: ColumnElement[Any]) -> ColumnElement[bool]:
        return func.lower(cast(column, String)).contains(word, autoescape=True)

    return or_(
        within(t.adapters.c.name),
        within(v.domain),
        within(v.base_id),
        within(v.kind),
        v.id.in_(select(t.tags.c.version_id).where(or_(within(t.tags.c.key), within(t.tags.c.value)))),
        v.id.in_(select(t.aliases.c.version_id).where(within(t.aliases.c.alias))),
        v.id.in_(select(t.recipes.c.version_id).where(within(t.recipes.c.method))),
    )


def _not_found(connection: Connection, ref: Ref) -> NotFound:
    rows: Sequence[str] = connection.scalars(select(t.adapters.c.name)).all()
    if ref.name not in rows:
        return unknown("adapter", str(ref.name), rows, "`lftreg list` shows what is there")
    known = connection.scalars(
        select(t.aliases.c.alias)
        .join(t.adapters, t.adapters.c.id == t.aliases.c.adapter_id)
        .where(t.adapters.c.name == ref.name)
    ).all()
    if ref.alias is not None:
        error = unknown(
            "alias", ref.alias, known, f"`lftreg list --all --name {ref.name}` shows its versions"
        )
        return NotFound(
            f"{ref.name} has no alias {ref.alias!r}.{error.message.partition('.')[2]}",
            error.hint,
            code=error.code,
        )
    which = f"no version {ref}" if ref.number or ref.digest else f"no version of {ref.name!r}"
    return NotFound(
        f"there is {which}",
        f"`lftreg list --all --name {ref.name}`, or --removed, shows what is",
        code="unknown-version",
    )
