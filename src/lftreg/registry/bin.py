"""What `rm` took and `restore` brings back: a removed version keeps its rows and its files."""

from __future__ import annotations

from sqlalchemy import Connection, select, update

from lftreg.errors import NotFound
from lftreg.registry import log, lookup
from lftreg.registry import schema as t
from lftreg.registry.inserts import adapter_id
from lftreg.registry.records import Version
from lftreg.registry.ref import Ref, parse_ref
from lftreg.registry.rows import fetch_ids, now


def mark(connection: Connection, ref: str | Ref, *, removed: bool) -> list[Version]:
    """Put versions in the bin, or, those that are `removed`, take them out. A bare name means all of its versions."""
    wanted = parse_ref(ref) if isinstance(ref, str) else ref
    version = lookup.find(connection, wanted, removed=True)
    v = t.versions.c
    here = [v.adapter_id == adapter_id(connection, version.name)]
    here.append(v.removed_at.is_not(None) if removed else v.removed_at.is_(None))
    if wanted != Ref(wanted.name):
        here.append(v.number == version.number)
    ids = connection.scalars(select(v.id).where(*here).order_by(v.number)).all()
    if not ids:
        what = "nothing of {} to restore" if removed else "{} is removed already"
        raise NotFound(what.format(wanted), "`lftreg list --removed` shows the bin", code="unknown-version")
    connection.execute(update(t.versions).where(*here).values(removed_at=None if removed else now()))
    marked = fetch_ids(connection, ids)
    for one in marked:
        log.write(connection, "restore" if removed else "rm", one.name, one.number, one.digest)
    return marked
