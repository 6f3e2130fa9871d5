"""What versions can be filtered and sorted by, and where it stands in the tables."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from sqlalchemy import ColumnElement, Connection, Select, bindparam, exists, func, select

from lftreg.registry import schema as t
from lftreg.registry.measures import ANY, LOSS

Kind = Literal["text", "number", "count", "bytes", "time"]
TAG = "tag."
KEPT = (
    512  # names of tags and metrics whose fields are kept, so that questions that name them are known again
)


@dataclass(frozen=True, slots=True, eq=False)  # one object a field: see `tag` and `measured`
class Own:
    """A field in a column of `versions`, or computed for each of them. `indexed` columns find versions by a value."""

    name: str
    kind: Kind
    column: ColumnElement[Any]
    nullable: bool = False
    indexed: bool = False

    @property
    def value(self) -> ColumnElement[Any]:
        return self.column


@dataclass(frozen=True, slots=True, eq=False)  # one object a field: see `tag` and `measured`
class Rows:
    """A field in rows of another table. `link` equals `own` of `versions` there; `here` says which rows they are."""

    name: str
    kind: Kind
    link: ColumnElement[Any]
    column: ColumnElement[Any]
    here: tuple[ColumnElement[bool], ...] = ()
    own: ColumnElement[Any] = t.versions.c.id
    single: bool = True  # at most one value a version
    total: bool = False  # every version has one
    indexed: bool = True  # by value

    @property
    def value(self) -> ColumnElement[Any]:
        return (
            select(self.column)
            .where(self.link == self.own, *self.here)
            .correlate(t.versions)
            .scalar_subquery()
        )

    def has(self, *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
        """Whether a version has a row of which something holds."""
        return exists().where(self.link == self.own, *self.here, *conditions).correlate(t.versions)

    def ids(self, *conditions: ColumnElement[bool]) -> Select[Any]:
        """The versions that have such a row."""
        links = select(self.link).where(*self.here, *conditions)
        return links if self.own is t.versions.c.id else select(t.versions.c.id).where(self.own.in_(links))


Field = Own | Rows

_v, _files = t.versions.c, t.files.c
_SIZE = (
    select(func.coalesce(func.sum(_files.size), 0))
    .where(_files.version_id == _v.id, _files.attachment.is_(False))
    .correlate(t.versions)
    .scalar_subquery()
)
FIELDS: dict[str, Field] = {
    field.name: field
    for field in (
        Rows("name", "text", t.adapters.c.id, t.adapters.c.name, own=_v.adapter_id, total=True),
        Own("version", "number", _v.number),
        Own("kind", "text", _v.kind),
        Own("domain", "text", _v.domain, nullable=True, indexed=True),
        Own("base", "text", _v.base_id, indexed=True),
        Own("rank", "number", _v.rank),
        Own("alpha", "number", _v.alpha),
        Own("parameters", "count", _v.trainable_parameters),
        Own("bytes", "bytes", _SIZE),
        Own("created", "time", _v.created_at, indexed=True),
        Rows("method", "text", t.recipes.c.version_id, t.recipes.c.method, indexed=False),
        Rows("alias", "text", t.aliases.c.version_id, t.aliases.c.alias, single=False),
        Own("digest", "text", _v.digest, indexed=True),
        Own("damage", "text", _v.damage, nullable=True),
    )
}
FINGERPRINT = Own("base", "text", _v.base, indexed=True)  # what `base` means where the value is one
LOSSES = tuple(
    LOSS + name
    for name in (
        "train_first", "train_last", "validation_before", "validation_after", "old_before", "old_after",
        "accuracy_before", "accuracy_after",
    )
)  # fmt: skip
HINT = (
    f"{', '.join(FIELDS)}, tag.KEY, {LOSS}validation_after and other losses, and every metric that was measured, "
    "as bleu or SUITE/bleu"
)


_KNOWN = (
    select(t.measures.c.metric)
    .where(t.measures.c.metric == bindparam("metric"), t.measures.c.suite == bindparam("suite"))
    .limit(1)
)


def is_measured(name: str) -> bool:
    """Whether a field is one of figures: a metric or a loss."""
    return name not in FIELDS and not name.startswith(TAG)


def named(connection: Connection, name: str) -> Field | None:
    """The field of a name, or None."""
    if name in FIELDS:
        return FIELDS[name]
    if name.startswith(TAG) and len(name) > len(TAG):
        return tag(name[len(TAG) :])
    if name in LOSSES:
        return measured(name)
    suite, metric = _parts(name)
    known = connection.execute(_KNOWN, {"metric": metric, "suite": suite}).first()
    return measured(name) if known else None


@lru_cache(maxsize=KEPT)
def tag(key: str) -> Rows:
    """The value of a tag."""
    tags = t.tags.c
    return Rows(TAG + key, "text", tags.version_id, tags.value, (tags.key == key,))


@lru_cache(maxsize=KEPT)
def measured(name: str) -> Rows:
    """A metric: the newest value of any suite, or of the one before the last `/`."""
    suite, metric = _parts(name)
    m = t.measures.c
    return Rows(name, "number", m.version_id, m.value, (m.metric == metric, m.suite == suite))


def _parts(name: str) -> tuple[str, str]:
    """The suite and the metric of a name."""
    suite, _, metric = name.rpartition("/")
    return suite or ANY, metric


def unknown(connection: Connection, name: str) -> tuple[str, str]:
    """What to say of a field that is none: a sentence with the nearest, and a hint with all."""
    m = t.measures.c
    pairs = connection.execute(select(m.suite, m.metric).distinct().where(~m.metric.startswith(LOSS))).all()
    metrics = sorted({metric for _, metric in pairs})
    known = [*FIELDS, *LOSSES, *metrics, *(f"{suite}/{metric}" for suite, metric in pairs if suite)]
    near = difflib.get_close_matches(name.lower()[:200], known, n=1, cutoff=0.6)
    question = f" Did you mean {near[0]!r}?" if near else ""
    measured_here = (
        f"; measured here: {', '.join(metrics[:20])}" if metrics else "; `lftreg eval` measures metrics"
    )
    return f"unknown field {name[:80]!r}.{question}", HINT + measured_here
