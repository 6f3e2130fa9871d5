"""What evaluations found and what people preferred: rows that are added, read, and never changed."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC
from typing import Any

from sqlalchemy import Connection, Select, insert, select

from lftreg.registry import log, measures, words
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs
from lftreg.registry.owner import claim
from lftreg.registry.records import Base, Blob, Preference, Score
from lftreg.registry.rows import now

Open = Callable[[], AbstractContextManager[Connection]]
MayBe = Callable[[], AbstractContextManager[Connection | None]]
_SHARED = (
    "digest", "ref", "suite", "suite_digest", "decoding", "decoding_digest", "n", "metrics", "facts",
    "libraries", "items",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a registry. `Registry.scores` makes it."""

    blobs: Blobs
    reading: MayBe
    writing: Open
    remember: Callable[[Connection, Base], None]

    def add(self, found: Sequence[tuple[Score, Sequence[Mapping[str, Any]]]]) -> list[Score]:
        """Keep scores, each with its rows of per-item values, all of them or none. `items` and `at` are set here."""
        with self.blobs.staging() as stage:
            blobs = stage.put_all([_written(rows) for _, rows in found])
            return self._keep(
                [
                    (replace(score, items=blob.sha256, at=now().replace(tzinfo=UTC)), blob)
                    for (score, _), blob in zip(found, blobs, strict=True)
                ]
            )

    def _keep(self, staged: Sequence[tuple[Score, Blob]]) -> list[Score]:
        kept: list[tuple[int, Mapping[str, Any]]] = []
        with self.writing() as connection:
            claim(connection, self.blobs)
            self.blobs.place([blob for _, blob in staged])
            for score, _ in staged:
                self.remember(connection, score.base)
                row = {name: getattr(score, name) for name in _SHARED}
                row |= {"base": score.base.fingerprint, "at": score.at.replace(tzinfo=None)}
                key = connection.execute(insert(t.scores).values(row)).inserted_primary_key
                assert key is not None
                kept.append((key[0], row))
                name, _, number = score.ref.rpartition("@")
                subject, version = (name, int(number)) if number.isdecimal() else (score.ref, None)
                log.write(connection, "score", subject, version, score.digest, suite=score.suite, n=score.n)
            words.refresh(connection, measures.add(connection, kept))
        return [score for score, _ in staged]

    def find(
        self,
        *,
        digest: str | None = None,
        suite: str | None = None,
        suite_digest: str | None = None,
        decoding_digest: str | None = None,
    ) -> list[Score]:
        """Scores, the newest first. `suite` is a name."""
        query = select(t.scores, t.bases.c.id.label("base_id"), t.bases.c.model_type, t.bases.c.parameters)
        query = query.join(t.bases, t.bases.c.fingerprint == t.scores.c.base).order_by(t.scores.c.id.desc())
        wanted = {"digest": digest, "suite": suite, "suite_digest": suite_digest}
        wanted["decoding_digest"] = decoding_digest
        for column, value in wanted.items():
            if value is not None:
                query = query.where(t.scores.c[column] == value)
        with self.reading() as connection:
            rows = [] if connection is None else _rows(connection, query)
        return [
            Score(
                base=Base(row["base"], row["base_id"], row["model_type"], row["parameters"]),
                at=row["at"].replace(tzinfo=UTC),
                **{name: row[name] for name in _SHARED},
            )
            for row in rows
        ]

    def newest(self, **wanted: str | None) -> list[Score]:
        """What is known by now of each content on each suite and decoding, the newest first.

        A later evaluation of fewer metrics takes nothing away: each metric is that of the newest score that has it.
        They stand in the order of the score that has most.
        """
        found: dict[tuple[str, str, str], Score] = {}
        for score in self.find(**wanted):
            key = score.digest, score.suite_digest, score.decoding_digest
            newer = found.get(key)
            if newer is None:
                found[key] = score
            else:
                known = {**score.metrics, **newer.metrics}
                order = dict.fromkeys([*max(newer.metrics, score.metrics, key=len), *known])
                metrics = {name: known[name] for name in order}
                found[key] = replace(newer, metrics=metrics, older=(*newer.older, score))
        return list(found.values())

    def items(self, score: Score) -> list[dict[str, Any]]:
        """What each item of a suite got. Raises CheckFailed where it is lost."""
        rows: list[dict[str, Any]] = json.loads(self.blobs.open(score.items).read_bytes())
        for one in score.older:
            for row, more in zip(rows, self.items(one), strict=True):
                row["scores"] = {**more["scores"], **row["scores"]}
        return rows

    def prefer(self, preference: Preference) -> None:
        """Keep what a person chose; `at` is set here."""
        row = {c.name: getattr(preference, c.name) for c in t.preferences.c if c.name not in ("id", "at")}
        with self.writing() as connection:
            connection.execute(insert(t.preferences).values(row | {"at": now()}))
            log.write(connection, "prefer", preference.ref, None, preference.digest, choice=preference.choice)

    def preferences(self, digest: str, against: str | None = None) -> list[Preference]:
        """What was chosen between `digest` and others, oldest first."""
        query = select(t.preferences).where(t.preferences.c.digest == digest).order_by(t.preferences.c.id)
        if against is not None:
            query = query.where(t.preferences.c.against == against)
        with self.reading() as connection:
            rows = [] if connection is None else _rows(connection, query)
        return [
            Preference(
                **{k: v for k, v in row.items() if k not in ("id", "at")}, at=row["at"].replace(tzinfo=UTC)
            )
            for row in rows
        ]


def _written(rows: Sequence[Mapping[str, Any]]) -> bytes:
    return json.dumps(list(rows), ensure_ascii=False, separators=(",", ":")).encode()


def _rows(connection: Connection, query: Select[Any]) -> list[Mapping[str, Any]]:
    return [dict(row) for row in connection.execute(query).mappings()]
