"""The words by which versions are found: split here, so that SQLite and PostgreSQL find the same.

Each version has one row: the distinct words of its name, domain, base, kind, method, aliases, tags, card, and of the
suites and metrics it was scored by. SQLite keeps them in an FTS5 table, PostgreSQL as a tsvector.
"""

from __future__ import annotations

import difflib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    String,
    bindparam,
    cast,
    delete,
    literal_column,
    null,
    select,
    text,
    union_all,
)

from lftreg.registry import schema as t

CARD = "README.md"  # the attachment whose text is searched
CARD_READ = 20_000  # characters of it
LONGEST = 64  # characters of a word; what begins alike up to here is found together
MOST = 32  # words of one question
AT_ONCE = 500
PREFIX = 3  # letters: what the FTS5 table has an index of beginnings for
FEW = 32  # words that are asked for one by one
CLOSE = 2000  # words among which a near one is looked for
LAST = chr(0x10FFFF)  # behind every other letter
_ACCENT = re.compile(r"(?<=[a-z])[\u0300-\u036f]+")
_PLAIN = re.compile(r"[a-z0-9]+")
_BEGINNING = (
    select(t.terms.c.word)
    .where(t.terms.c.word >= bindparam("first"), t.terms.c.word < bindparam("last"))
    .order_by(t.terms.c.word)
    .limit(bindparam("most"))
)
_INSERTS = {
    "sqlite": text("INSERT INTO words (rowid, said) VALUES (:id, :words)"),
    "postgresql": text(
        "INSERT INTO words (rowid, said) VALUES (:id, array_to_tsvector(string_to_array(:words, ' ')))"
    ),
}
_DELETE = text("DELETE FROM words WHERE rowid = :id")
_TERMS = text("INSERT INTO terms (word) VALUES (:word) ON CONFLICT DO NOTHING")


def split(said: str) -> list[str]:
    """The words of a text, in lower case and without the accents of Latin letters: `café_v2.1` has three."""
    if said.isascii():
        found = _PLAIN.findall(said.lower())
    else:
        lower = unicodedata.normalize("NFKD", said).casefold()
        plain = unicodedata.normalize("NFC", _ACCENT.sub("", lower))
        found = "".join(c if _in_word(c) else " " for c in plain).split()
    return [word[:LONGEST] for word in found]


def card_text(content: bytes) -> str:
    """What of a card is kept to be searched."""
    return content.decode(errors="replace").replace("\0", "")[:CARD_READ]


def sought(connection: Connection, said: str) -> str | None:
    """What `match` is given to find every word of a text, or one that begins with it. None for one without words."""
    found = list(dict.fromkeys(split(said)))[:MOST]
    if not found:
        return None
    if connection.dialect.name == "sqlite":
        return " AND ".join(_phrase(connection, word) for word in found)
    return " & ".join(f"'{word}':*" for word in found)


def match(dialect: str, asked: ColumnElement[str]) -> ColumnElement[bool]:
    """Which rows of `words` have what is sought."""
    if dialect == "sqlite":
        return literal_column("words").op("MATCH", is_comparison=True)(asked)
    return literal_column("words.said").op("@@", is_comparison=True)(
        asked.op("::")(literal_column("tsquery"))
    )


def near(connection: Connection, said: str) -> dict[str, str | None]:
    """Of the words of a text those that nothing begins with, each with the nearest word there is."""
    found: dict[str, str | None] = {}
    for word in list(dict.fromkeys(split(said)))[:MOST]:
        if _beginning(connection, word, 1):
            continue
        known = _beginning(connection, word[:2], CLOSE) or _beginning(connection, word[:1], CLOSE)
        close = difflib.get_close_matches(word, known, n=1, cutoff=0.7)
        found[word] = close[0] if close else None
    return found


def _phrase(connection: Connection, word: str) -> str:
    """A word as FTS5 is asked for it.

    A beginning of up to PREFIX letters has an index of its own. Of a longer one FTS5 would first collect every row;
    the few words that begin with it are found as fast as the first rows are.
    """
    if len(word) > PREFIX:
        known = _beginning(connection, word, FEW + 1)
        if 0 < len(known) <= FEW:
            return "(" + " OR ".join(f'"{one}"' for one in known) + ")"
    return f'"{word}"*'


def _beginning(connection: Connection, letters: str, limit: int) -> Sequence[str]:
    """Words that begin so, in their order."""
    asked = {"first": letters, "last": letters + LAST, "most": limit}
    return connection.scalars(_BEGINNING, asked).all()


def refresh(connection: Connection, ids: Sequence[int]) -> None:
    """Write the words of versions anew."""
    for at in range(0, len(ids), AT_ONCE):
        some = ids[at : at + AT_ONCE]
        said = found(connection, some)
        rows = [{"id": id_, "words": " ".join(sorted(own))} for id_, own in said.items()]
        connection.execute(_DELETE, [{"id": id_} for id_ in some])
        if rows:
            connection.execute(_INSERTS[connection.dialect.name], rows)
            known = sorted(set[str]().union(*said.values()))
            connection.execute(_TERMS, [{"word": w} for w in known])


def rebuild(connection: Connection) -> None:
    """Write the words of all versions anew."""
    connection.execute(text("DELETE FROM words"))
    connection.execute(delete(t.terms))
    refresh(connection, connection.scalars(select(t.versions.c.id).order_by(t.versions.c.id)).all())


def _in_word(char: str) -> bool:
    return char.isalnum() or unicodedata.category(char)[0] == "M"  # marks join what they stand on


def found(connection: Connection, ids: Sequence[int]) -> dict[int, set[str]]:
    """The words of some versions."""
    words: dict[int, set[str]] = defaultdict(set)
    for id_, *texts in connection.execute(_SOURCES, {"ids": ids}):
        for one in texts:
            words[id_].update(split(one or ""))
    return words


def _sources() -> CompoundSelect[Any]:
    """All texts of some versions, up to four a row, as one question."""
    v, m, none = t.versions.c, t.measures.c, cast(null(), String)
    ids: Any = bindparam("ids", expanding=True)
    named = select(v.id, t.adapters.c.name, v.domain, v.base_id, v.kind)
    return union_all(
        named.join(t.adapters, t.adapters.c.id == v.adapter_id).where(v.id.in_(ids)),
        select(t.tags.c.version_id, t.tags.c.key, t.tags.c.value, none, none).where(
            t.tags.c.version_id.in_(ids)
        ),
        *(
            select(table.c.version_id, table.c[name], none, none, none).where(table.c.version_id.in_(ids))
            for table, name in ((t.aliases, "alias"), (t.recipes, "method"), (t.cards, "text"))
        ),
        select(m.version_id, m.suite, m.metric, none, none).where(m.version_id.in_(ids), m.suite != ""),
    )


_SOURCES = _sources()
