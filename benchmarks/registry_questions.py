"""What benchmarks/registry.py asks: through the API, by the sqlite3 module, and of a JSON file."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lftreg.registry import Registry
from registry_rows import WORDS


class Plain:
    """The same database by sqlite3 alone: SQL by hand, rows as tuples, the same columns read."""

    VERSION = (
        "SELECT v.id, v.adapter_id, v.number, v.digest, v.kind, v.base, v.base_id, v.domain, v.rank, v.alpha,"
        " v.target_modules, v.trainable_parameters, v.created_at, v.removed_at, v.damage, a.name, b.model_type,"
        " b.parameters"
        " FROM {source} JOIN adapters a ON a.id = v.adapter_id JOIN bases b ON b.fingerprint = v.base WHERE {where}"
        " ORDER BY {order} LIMIT {limit}"
    )
    MORE = (
        "SELECT version_id, name, sha256, size, attachment FROM files WHERE version_id IN ({marks}) ORDER BY name",
        "SELECT version_id, key, value FROM tags WHERE version_id IN ({marks}) ORDER BY key",
        "SELECT version_id, alias FROM aliases WHERE version_id IN ({marks}) ORDER BY alias",
        "SELECT version_id, seed, data_digest, settings, libraries, losses, examples, tokens, seconds FROM runs"
        " WHERE version_id IN ({marks})",
        "SELECT version_id, method, options, relative_error FROM recipes WHERE version_id IN ({marks})",
        "SELECT version_id, position, ref, digest, weight FROM parents WHERE version_id IN ({marks}) ORDER BY position",
    )

    def __init__(self, path: Path) -> None:
        self.size = path.stat().st_size
        self.database = sqlite3.connect(path, isolation_level=None)

    def ask(self, where: str, values: list[Any], limit: int = 50) -> list[str]:
        return self._read(
            self.VERSION.format(source="versions v", where=where, order="v.id DESC", limit=limit), values
        )

    def top(self, metric: str, where: str, values: list[Any], limit: int) -> list[str]:
        source = "measures m JOIN versions v ON v.id = m.version_id"
        where = f"m.metric = ? AND m.suite = '' AND {where}"
        order = "m.value DESC, v.id DESC"
        return self._read(
            self.VERSION.format(source=source, where=where, order=order, limit=limit), [metric, *values]
        )

    def _read(self, query: str, values: list[Any]) -> list[str]:
        database = self.database
        database.execute("BEGIN")
        rows = database.execute(query, values).fetchall()
        ids = [row[0] for row in rows]
        marks = ",".join("?" * len(ids))
        for more in self.MORE:
            database.execute(more.format(marks=marks), ids).fetchall()
        database.execute("COMMIT")
        for row in rows:
            json.loads(row[10]), datetime.fromisoformat(row[12]).replace(tzinfo=UTC)
        return [f"{row[15]}@{row[2]}" for row in rows]

    def documents(self) -> list[dict[str, Any]]:
        """All versions as `lftreg list --all --json` tells them, with the newest bleu of each."""
        tags: dict[int, dict[str, str]] = {}
        for version_id, key, value in self.database.execute("SELECT version_id, key, value FROM tags"):
            tags.setdefault(version_id, {})[key] = value
        aliases: dict[int, list[str]] = {}
        for version_id, alias in self.database.execute("SELECT version_id, alias FROM aliases"):
            aliases.setdefault(version_id, []).append(alias)
        rows = self.database.execute(
            "SELECT v.id, a.name, v.number, v.digest, v.kind, v.base_id, v.domain, v.rank, v.created_at, m.value"
            " FROM versions v JOIN adapters a ON a.id = v.adapter_id"
            " JOIN measures m ON m.version_id = v.id AND m.metric = 'bleu' AND m.suite = ''"
        )
        keys = ("id", "name", "version", "digest", "kind", "base", "domain", "rank", "created_at", "bleu")
        found = []
        for row in rows:
            one = dict(zip(keys, row, strict=True))
            more = {
                "ref": f"{row[1]}@{row[2]}",
                "bytes": 16_000_700,
                "tags": tags[row[0]],
                "aliases": aliases.get(row[0], []),
            }
            found.append(one | more)
        return found


@dataclass(frozen=True)
class Question:
    """One question, put in four ways. Each gives the refs it found, in order."""

    name: str
    api: Callable[[Registry], list[str]]
    sql: Callable[[Plain], list[str]]
    scan: Callable[[list[dict[str, Any]]], list[str]]


def refs(found: Sequence[Any]) -> list[str]:
    return [one.ref for one in found]


def newest(rows: list[dict[str, Any]], limit: int = 50) -> list[str]:
    return [row["ref"] for row in sorted(rows, key=lambda row: -row["id"])[:limit]]


def behind(rows: list[dict[str, Any]], ref: str) -> list[str]:
    """The page after a version."""
    last = next(row["id"] for row in rows if row["ref"] == ref)
    return newest([row for row in rows if row["id"] < last])


def has_words(row: dict[str, Any], *asked: str) -> bool:
    """Whether each word begins one of the row's."""
    texts = [row["name"], row["domain"], row["kind"], row["base"], *row["tags"].values(), *row["aliases"]]
    known = " ".join(texts).replace("-", " ").split()
    return all(any(word.startswith(one) for word in known) for one in asked)


def questions(count: int) -> list[Question]:
    """Of a registry of so many versions, which `fill` made."""
    middle, deep = count // 2, int(count * 0.9)
    name, number = f"adapter-{middle // 5:05}", middle % 5 + 1
    one, two = WORDS[8], WORDS[44]
    after = f"adapter-{(count - deep) // 5:05}@{(count - deep) % 5 + 1}"
    live = "v.removed_at IS NULL"
    return [
        Question(
            "name@number",
            lambda r: [r.get(f"{name}@{number}").ref],
            lambda p: p.ask("a.name = ? AND v.number = ?", [name, number], limit=1),
            lambda rows: [row["ref"] for row in rows if row["name"] == name and row["version"] == number],
        ),
        Question(
            "name@alias",
            lambda r: [r.get(f"{name}@prod").ref],
            lambda p: p.ask(
                "a.name = ? AND v.id = (SELECT version_id FROM aliases WHERE adapter_id = a.id AND alias = ?)"
                f" AND {live}",
                [name, "prod"],
                limit=1,
            ),
            lambda rows: [row["ref"] for row in rows if row["name"] == name and "prod" in row["aliases"]],
        ),
        Question(
            "base, newest 50",
            lambda r: refs(r.list(all_versions=True, base="base-3", limit=50)),
            lambda p: p.ask(f"v.base_id = ? AND {live}", ["base-3"]),
            lambda rows: newest([row for row in rows if row["base"] == "base-3"]),
        ),
        Question(
            "four predicates, 5",
            lambda r: refs(
                r.list(
                    all_versions=True,
                    base="base-3",
                    kind="trained",
                    domain="domain-3",
                    tags={"team": "team-3"},
                    limit=5,
                )
            ),
            lambda p: p.ask(
                "v.base_id = ? AND v.kind = ? AND v.domain = ? AND EXISTS (SELECT 1 FROM tags WHERE version_id = v.id"
                f" AND key = 'team' AND value = ?) AND {live}",
                ["base-3", "trained", "domain-3", "team-3"],
                limit=5,
            ),
            lambda rows: newest(
                [
                    row
                    for row in rows
                    if (row["base"], row["kind"], row["domain"]) == ("base-3", "trained", "domain-3")
                    and row["tags"].get("team") == "team-3"
                ],
                5,
            ),
        ),
        Question(
            "two words, 5",
            lambda r: refs(r.search(f"{one} {two}", limit=5)),
            lambda p: p.ask(
                f"v.id IN (SELECT rowid FROM words WHERE words MATCH ?) AND {live}",
                [f'"{one}"* AND "{two}"*'],
                limit=5,
            ),
            lambda rows: newest([row for row in rows if has_words(row, one, two)], 5),
        ),
        Question(
            "top 10 by bleu",
            lambda r: refs(r.search("", sort="-bleu", limit=10)),
            lambda p: p.top("bleu", f"{live}", [], 10),
            lambda rows: [
                row["ref"] for row in sorted(rows, key=lambda row: (-row["bleu"], -row["id"]))[:10]
            ],
        ),
        Question(
            "bleu > 30, base: 10",
            lambda r: refs(r.search("", where="bleu > 30 and base = base-3", sort="-bleu", limit=10)),
            lambda p: p.top("bleu", f"m.value > 30 AND v.base_id = ? AND {live}", ["base-3"], 10),
            lambda rows: [
                row["ref"]
                for row in sorted(
                    (row for row in rows if row["bleu"] > 30 and row["base"] == "base-3"),
                    key=lambda row: (-row["bleu"], -row["id"]),
                )[:10]
            ],
        ),
        Question(
            "50 at 90% depth",
            lambda r: refs(r.list(all_versions=True, limit=50, after=after)),
            lambda p: p.ask(
                "v.id < (SELECT v.id FROM versions v JOIN adapters a ON a.id = v.adapter_id"
                f" WHERE a.name = ? AND v.number = ?) AND {live}",
                [after.partition("@")[0], int(after.partition("@")[2])],
            ),
            lambda rows: behind(rows, after),
        ),
    ]
