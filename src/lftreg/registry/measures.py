"""The figures that versions are filtered and sorted by: of each version, suite and metric the newest value.

Under the suite "" stands the newest value of any suite, and what training lost: `loss.validation_after` and its like.
Equal content has equal scores, so what is measured of one version holds for all of its digest.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

from sqlalchemy import BindParameter, Connection, bindparam, delete, select

from lftreg.registry import schema as t
from lftreg.registry.rows import adding, chunks

ANY = ""  # the suite of what was newest, whichever suite it was
LOSS = "loss."
Row = dict[str, Any]
Key = tuple[int, str, str]  # version, suite, metric
_v, _s = t.versions.c, t.scores.c
_ids: BindParameter[Any] = bindparam("ids", expanding=True)
_LOST = select(t.runs.c.version_id, t.runs.c.losses).where(t.runs.c.version_id.in_(_ids))
_SCORED = (
    select(_v.id.label("version_id"), _s.id, _s.suite, _s.metrics)
    .join(t.scores, _s.digest == _v.digest)
    .where(_v.id.in_(_ids))
    .order_by(_v.id, _s.id)
)


def add(connection: Connection, scores: Sequence[tuple[int, Mapping[str, Any]]]) -> list[int]:
    """Take the values of new scores, given as id and row in the order they were made.

    Returns the versions that have a suite or metric they had not before: their words have changed.
    """
    found: dict[str, dict[tuple[str, str], Row]] = defaultdict(dict)
    for score_id, row in scores:
        found[row["digest"]] |= _values(score_id, row)
    m = t.measures.c
    changed = []
    for digest, values in found.items():
        ids = connection.scalars(select(t.versions.c.id).where(t.versions.c.digest == digest)).all()
        for id_ in ids:
            own = select(m.suite, m.metric).where(m.version_id == id_)
            known = {(suite, metric) for suite, metric in connection.execute(own)}
            for suite, metric in values.keys() & known:
                here = (m.version_id == id_) & (m.suite == suite) & (m.metric == metric)
                connection.execute(delete(t.measures).where(here))
            _insert(connection, [row | {"version_id": id_} for row in values.values()])
            if values.keys() - known:
                changed.append(id_)
    return changed


def begin(connection: Connection, version_id: int) -> None:
    """The measures of a new version: what its training lost, and what its content was scored before."""
    _insert(connection, list(wanted(connection, [version_id]).values()))


def rebuild(connection: Connection) -> None:
    """All measures from all scores and runs."""
    connection.execute(delete(t.measures))
    for ids in chunks(connection.scalars(select(t.versions.c.id).order_by(t.versions.c.id)).all()):
        _insert(connection, list(wanted(connection, ids).values()))


def wanted(connection: Connection, ids: Sequence[int]) -> dict[Key, Row]:
    """The measures that runs and scores make of some versions."""
    found: dict[Key, Row] = {}
    for id_, losses in connection.execute(_LOST, {"ids": ids}):
        found |= _of(id_, _losses(losses))
    for row in connection.execute(_SCORED, {"ids": ids}).mappings():
        found |= _of(row["version_id"], _values(row["id"], row))
    return found


def _of(version_id: int, values: Mapping[tuple[str, str], Row]) -> dict[Key, Row]:
    return {
        (version_id, suite, metric): row | {"version_id": version_id}
        for (suite, metric), row in values.items()
    }


def _insert(connection: Connection, rows: Sequence[Row]) -> None:
    if rows:
        connection.execute(adding(t.measures), rows)


def _losses(losses: Mapping[str, Any]) -> dict[tuple[str, str], Row]:
    return {
        (ANY, LOSS + name): {"suite": ANY, "metric": LOSS + name, "value": float(value), "score_id": None}
        for name, value in losses.items()
        if _is_number(value)
    }


def _values(score_id: int, score: Mapping[Any, Any]) -> dict[tuple[str, str], Row]:
    found = {}
    for metric, summary in score["metrics"].items():
        value = summary.get("value") if isinstance(summary, Mapping) else None
        if _is_number(value):
            for suite in (ANY, score["suite"]):
                found[suite, metric] = {
                    "suite": suite, "metric": metric, "value": float(value), "score_id": score_id,
                }  # fmt: skip
    return found


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value)
