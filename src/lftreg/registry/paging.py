"""A page of a long list, by its place: how many versions match, and those of the page."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, select

from lftreg.registry import finding
from lftreg.registry import schema as t
from lftreg.registry.records import Version
from lftreg.registry.rows import chunks, fetch_ids


def page(
    connection: Connection,
    base: str,
    text: str = "",
    *,
    name: str | None = None,
    all_versions: bool = False,
    offset: int = 0,
    limit: int = 50,
    seen: Callable[[str], bool] | None = None,
) -> tuple[int, list[Version]]:
    """How many versions on a base match, and `limit` of them from `offset` on, the newest first.

    Every word of `text` has to begin a word, as in `search`; one version an adapter unless `all_versions`. `seen` says
    of a name whether it may be told at all.
    """
    asked = finding.Question()
    for one in finding.filters(name=name, base=base):
        asked.add(one)
    asked.say(connection, text)
    asked.wanted.append("there")
    if not all_versions:
        asked.wanted.append("newest")
    if seen is None:
        total = finding.count(connection, asked)
        ids = finding.ids_of(connection, asked, limit, offset) if limit else []
    else:
        allowed = _allowed(connection, finding.ids_of(connection, asked), seen)
        total, ids = len(allowed), allowed[offset : offset + limit]
    return total, fetch_ids(connection, ids)


def _allowed(connection: Connection, ids: list[int], seen: Callable[[str], bool]) -> list[int]:
    """Those of adapters that may be told."""
    names: dict[int, bool] = {
        id_: seen(name) for id_, name in connection.execute(select(t.adapters.c.id, t.adapters.c.name))
    }
    of = {}
    for some in chunks(ids):
        query = select(t.versions.c.id, t.versions.c.adapter_id).where(t.versions.c.id.in_(some))
        of.update({id_: names[adapter] for id_, adapter in connection.execute(query)})
    return [id_ for id_ in ids if of[id_]]
