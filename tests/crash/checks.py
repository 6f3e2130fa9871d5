"""What has to be true of a home whatever was killed in it. Read by plain SQL: nothing of lftreg judges itself."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

State = dict[str, list[tuple[Any, ...]]]

# What a registry says, but for times and the numbers of its rows.
SAYS = {
    "versions": "SELECT a.name, v.number, v.digest, v.kind, v.rank, v.removed_at IS NULL"
    " FROM versions v JOIN adapters a ON a.id = v.adapter_id",
    "files": "SELECT a.name, v.number, f.name, f.attachment FROM files f JOIN versions v ON v.id = f.version_id"
    " JOIN adapters a ON a.id = v.adapter_id",
    "aliases": "SELECT a.name, x.alias, v.number FROM aliases x JOIN versions v ON v.id = x.version_id"
    " JOIN adapters a ON a.id = x.adapter_id",
    "moves": "SELECT a.name, m.alias, m.number, count(*) FROM alias_moves m JOIN adapters a ON a.id = m.adapter_id"
    " GROUP BY 1, 2, 3",
    "tags": "SELECT a.name, v.number, t.key, t.value FROM tags t JOIN versions v ON v.id = t.version_id"
    " JOIN adapters a ON a.id = v.adapter_id",
    "log": "SELECT action, subject, number, count(*) FROM log GROUP BY 1, 2, 3",
    "schema": "SELECT version_num FROM alembic_version",
}  # fmt: skip

DANGLING = (
    "SELECT x.alias FROM aliases x LEFT JOIN versions v ON v.id = x.version_id AND v.adapter_id = x.adapter_id"
    " WHERE v.id IS NULL"
)
# Rows that half a command would leave.
BROKEN = {
    "the history of an alias ends elsewhere": "SELECT m.alias, m.number, v.number FROM alias_moves m"
    " LEFT JOIN aliases x ON x.adapter_id = m.adapter_id AND x.alias = m.alias"
    " LEFT JOIN versions v ON v.id = x.version_id"
    " WHERE m.id = (SELECT max(id) FROM alias_moves n WHERE n.adapter_id = m.adapter_id AND n.alias = m.alias)"
    " AND m.number IS NOT v.number",
    "a version without its two files": "SELECT v.id FROM versions v"
    " WHERE (SELECT count(*) FROM files f WHERE f.version_id = v.id AND NOT f.attachment) != 2",
    "a trained version without a run": "SELECT id FROM versions WHERE kind = 'trained'"
    " AND id NOT IN (SELECT version_id FROM runs)",
    "a composed version without parents": "SELECT id FROM versions WHERE kind = 'composed'"
    " AND (id NOT IN (SELECT version_id FROM recipes) OR id NOT IN (SELECT version_id FROM parents))",
    "a version on no base": "SELECT id FROM versions WHERE base NOT IN (SELECT fingerprint FROM bases)",
}
SINCE_0004 = {
    "a version that no word finds": "SELECT id FROM versions WHERE id NOT IN (SELECT rowid FROM words)",
    "words of no version": "SELECT rowid FROM words WHERE rowid NOT IN (SELECT id FROM versions)",
    "a number that would come again": "SELECT a.name FROM adapters a JOIN versions v ON v.adapter_id = a.id"
    " WHERE v.number > a.last_number",
}


def state(home: Path) -> State:
    """What the registry says. Where nothing was ever written, nothing."""
    found: State = {name: [] for name in SAYS}
    with closing(_opened(home)) as connection:
        here = _tables(connection)
        for name, query in SAYS.items():
            if {"schema": "alembic_version", "moves": "alias_moves"}.get(name, name) in here:
                found[name] = sorted(connection.execute(query).fetchall(), key=repr)
    return found


def broken(home: Path) -> list[str]:
    """Damage to the file, and rows that are half of something."""
    with closing(_opened(home)) as connection:
        found = [
            f"the file: {row[0]}" for row in connection.execute("PRAGMA integrity_check") if row[0] != "ok"
        ]
        found += [f"a foreign key of {row[0]}" for row in connection.execute("PRAGMA foreign_key_check")]
        here = _tables(connection)
        if any(name.startswith("_alembic_tmp") for name in here):
            found.append("a table of half a migration")
        queries = (BROKEN if "keys" in here else {}) | (SINCE_0004 if "words" in here else {})
        for what, query in queries.items():
            found += [f"{what}: {row}" for row in connection.execute(query)]
    return found


def dangling(home: Path) -> list[str]:
    """Aliases of no version."""
    with closing(_opened(home)) as connection:
        if "aliases" not in _tables(connection):
            return []
        return [row[0] for row in connection.execute(DANGLING)]


def tree(folder: Path) -> dict[str, str]:
    """The files below a folder and their sha256."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def wrong_blobs(home: Path) -> Iterator[str]:
    """Files under the name of a content that is not theirs."""
    for name, digest in tree(home / "blobs").items():
        if Path(name).name != digest and not name.startswith("."):  # the mark of whose files they are
            yield f"blob {name[:15]} holds something else"


def lacking(home: Path) -> Iterator[str]:
    """Files that a version refers to, the removed ones included, and that are not there."""
    with closing(_opened(home)) as connection:
        if "files" not in _tables(connection):
            return
        for sha256, name in connection.execute("SELECT sha256, name FROM files"):
            if not (home / "blobs" / sha256[:2] / sha256).is_file():
                yield f"{name} {sha256[:12]} is gone"


def _opened(home: Path) -> sqlite3.Connection:
    database = home / "registry.db"
    return sqlite3.connect(database if database.exists() else ":memory:")


def _tables(connection: sqlite3.Connection) -> set[str]:
    return {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
