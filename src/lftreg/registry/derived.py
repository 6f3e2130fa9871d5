"""What is made of other rows, and made anew after a migration: measures, cards, and the words that name them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sqlalchemy import Connection, func, insert, select, text

from lftreg.registry import measures, words
from lftreg.registry import schema as t
from lftreg.registry.rows import chunks

Read = Callable[[str], bytes | None]  # a stored file by its sha256, None where it is lost
_SAID = {
    "sqlite": "SELECT rowid, said FROM words",
    "postgresql": "SELECT rowid, array_to_string(tsvector_to_array(said), ' ') FROM words",
}


def rebuild(connection: Connection, read: Read | None = None) -> None:
    """Make all of it anew. The connection is in a transaction that writes. Without `read` no card is looked for."""
    measures.rebuild(connection)
    if read is not None:
        _add_cards(connection, read)
    words.rebuild(connection)


def _add_cards(connection: Connection, read: Read) -> None:
    """The cards of versions that are older than the table of cards."""
    known = select(t.cards.c.version_id)
    query = select(t.files.c.version_id, t.files.c.sha256)
    query = query.where(t.files.c.name == words.CARD, t.files.c.version_id.not_in(known))
    for version_id, sha256 in connection.execute(query).all():
        if content := read(sha256):
            row = {"version_id": version_id, "text": words.card_text(content)}
            connection.execute(insert(t.cards).values(row))


def stale(connection: Connection) -> dict[str, int]:
    """The tables that are not what they would be if they were made anew, and how many of their rows."""
    said = {
        id_: set(text_.split()) for id_, text_ in connection.execute(text(_SAID[connection.dialect.name]))
    }
    terms = set(connection.scalars(select(t.terms.c.word)))
    found = {
        "measures": _stale_measures(connection),
        "words": _stale_words(connection, said),
        "terms": len(set[str]().union(*said.values()) - terms),  # others are of what was purged
    }
    return {table: number for table, number in found.items() if number}


def _stale_words(connection: Connection, said: Mapping[int, set[str]]) -> int:
    ids = connection.scalars(select(t.versions.c.id)).all()
    wrong = len(said.keys() - set(ids))
    for at in range(0, len(ids), words.AT_ONCE):
        some = ids[at : at + words.AT_ONCE]
        wanted = words.found(connection, some)
        wrong += sum(said.get(id_, set()) != wanted.get(id_, set()) for id_ in some)
    return wrong


def _stale_measures(connection: Connection) -> int:
    m = t.measures.c
    ids = connection.scalars(select(t.versions.c.id)).all()
    wrong = connection.scalar(select(func.count()).where(m.version_id.not_in(select(t.versions.c.id)))) or 0
    for some in chunks(ids):
        wanted = measures.wanted(connection, some)
        found = {
            (row["version_id"], row["suite"], row["metric"]): dict(row)
            for row in connection.execute(select(t.measures).where(m.version_id.in_(some))).mappings()
        }
        wrong += sum(found.get(key) != wanted.get(key) for key in found.keys() | wanted.keys())
    return wrong
