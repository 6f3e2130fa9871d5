"""What nobody needs any more: versions long in the bin, files that no row names, what killed processes left.

First it is found, in one reading; then it goes, piece by piece, each looked at again in the transaction that takes it
away. So a registry may be written to meanwhile, and whoever is interrupted is finished by the next.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar

from sqlalchemy import ColumnElement, Connection, Select, delete, func, insert, or_, select

from lftreg.errors import UsageError
from lftreg.paths import Home
from lftreg.registry import log, staging
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs, is_sha256
from lftreg.registry.owner import check
from lftreg.registry.rows import now

AT_ONCE = 100  # versions or files of one transaction: others who write wait no longer than for these
Listener = Callable[[str, int, int], None]  # what is done, how many of it are, how many there are
Kind = Literal["blob", "scratch", "export", "run"]
Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Waste:
    """A file or folder that goes, by its path, and the bytes that this frees."""

    kind: Kind
    path: Path
    bytes: int


@dataclass(frozen=True, slots=True)
class Purged:
    """A version that goes, and since when it was in the bin."""

    ref: str
    digest: str
    removed_at: datetime


@dataclass(frozen=True, slots=True)
class Garbage:
    """What goes, or went. `scores` and `preferences` are of content that no version has any more."""

    versions: Sequence[Purged] = ()
    scores: int = 0
    preferences: int = 0
    files: Sequence[Waste] = ()

    @property
    def bytes(self) -> int:
        return sum(file.bytes for file in self.files)


def silent(doing: str, done: int, total: int) -> None:
    """Nobody listens."""


@dataclass(frozen=True, slots=True)
class Collector:
    """Collects the garbage of a registry. `Registry.gc` makes it."""

    home: Home
    blobs: Blobs
    reading: Callable[[], AbstractContextManager[Connection | None]]
    writing: Callable[[], AbstractContextManager[Connection]]

    def find(self, keep_days: float) -> Garbage:
        """What a collection would take. Raises CheckFailed where the database does not tell what is needed."""
        self.blobs.must_be_there()
        before = _before(keep_days)
        with self.reading() as connection:
            if connection is not None:
                check(connection, self.blobs)
                return Garbage(
                    *_rows(connection, before), tuple(_files(connection, self.home, self.blobs, before))
                )
        if not self.blobs.any():
            return Garbage(files=tuple(_left_behind(self.home)))
        with self.reading() as connection:
            check(connection, self.blobs)  # whoever stored them since we looked has made the database first
        return self.find(keep_days)

    def collect(self, keep_days: float, listen: Listener = silent) -> Garbage:
        """Take away what `find` finds, and tell what went."""
        before = _before(keep_days)
        found = self.find(keep_days)
        purged = list(self._purge(before, listen)) if found.versions else []
        return Garbage(
            tuple(version for some in purged for version in some.versions),
            sum(some.scores for some in purged),
            sum(some.preferences for some in purged),
            tuple(self._remove(found.files, before, listen)),
        )

    def _purge(self, before: datetime, listen: Listener) -> Iterator[Garbage]:
        v = t.versions.c
        with self.reading() as connection:
            assert connection is not None
            ids = connection.scalars(select(v.id).where(v.removed_at <= before).order_by(v.id)).all()
        for done, some in _pieces(ids):
            listen("purging versions", done, len(ids))
            with self.writing() as connection:
                gone = _purge(connection, some, before)
            yield gone

    def _remove(self, files: Sequence[Waste], before: datetime, listen: Listener) -> Iterator[Waste]:
        blobs = [file for file in files if file.kind == "blob"]
        for done, some in _pieces(blobs):
            listen("deleting files", done, len(files))
            with self.writing() as connection:
                gone = _unlink(connection, some, before)
            yield from gone
        for done, file in enumerate(files):
            if file.kind == "scratch" and staging.clear(file.path):
                yield file
            elif file.kind == "export":
                with self.reading() as connection:
                    if connection is not None and _remove_export(connection, file, self.home):
                        yield file
            listen("deleting files", done + 1, len(files))


def weight(path: Path) -> int:
    """The bytes that go with a file or folder: those of files that have no other name."""
    try:
        if path.is_dir() and not path.is_symlink():
            return sum(weight(Path(folder) / name) for folder, _, names in os.walk(path) for name in names)
        found = path.lstat()
    except FileNotFoundError:
        return 0  # it went while we looked
    return found.st_size if found.st_nlink < 2 else 0


def _before(keep_days: float) -> datetime:
    try:
        return now() - timedelta(days=keep_days)
    except (OverflowError, ValueError) as error:
        raise UsageError(
            f"{keep_days:g} days ago there was nothing", "a number of days such as 30", code="invalid-days"
        ) from error


def _stays(before: datetime) -> ColumnElement[bool]:
    return or_(t.versions.c.removed_at.is_(None), t.versions.c.removed_at > before)


def _gone(before: datetime) -> Select[Any]:
    """The digests that no version will have."""
    v = t.versions.c
    return select(v.digest).where(
        v.removed_at <= before, v.digest.not_in(select(v.digest).where(_stays(before)))
    )


def _rows(connection: Connection, before: datetime) -> tuple[tuple[Purged, ...], int, int]:
    """Versions that go, and how many scores and preferences with them."""
    v = t.versions.c
    doomed = select(v.number, v.digest, v.removed_at, t.adapters.c.name).where(v.removed_at <= before)
    doomed = doomed.join(t.adapters, t.adapters.c.id == v.adapter_id).order_by(v.id)
    versions = tuple(_purged(row) for row in connection.execute(doomed))
    if not versions:
        return (), 0, 0
    scores, preferences = (
        connection.scalar(select(func.count()).select_from(table).where(table.c.digest.in_(_gone(before))))
        or 0
        for table in (t.scores, t.preferences)
    )
    return versions, scores, preferences


def _purged(row: Any) -> Purged:
    return Purged(f"{row.name}@{row.number}", row.digest, row.removed_at.replace(tzinfo=UTC))


def _files(connection: Connection, home: Home, blobs: Blobs, before: datetime) -> Iterator[Waste]:
    removed = t.versions.c.removed_at
    doomed = connection.scalar(select(removed).where(removed <= before).limit(1)) is not None
    named, answered = select(t.files.c.sha256).distinct(), select(t.scores.c["items"])
    if doomed:  # otherwise the indexes alone can tell
        named = named.join(t.versions, t.versions.c.id == t.files.c.version_id).where(_stays(before))
        answered = answered.where(t.scores.c.digest.not_in(_gone(before)))
    needed = set(connection.scalars(named))
    spare = sorted(Path(entry.path) for entry in blobs.everything() if entry.name not in needed)
    old = [path for path in spare if _is_old(path, before)]
    for _, some in _pieces(old):
        names = [path.name for path in some]
        kept = set(connection.scalars(answered.where(t.scores.c["items"].in_(names))))
        for path in some:
            if path.name not in kept:
                with suppress(FileNotFoundError):  # another who collects was quicker
                    yield Waste("blob", path, path.stat().st_size)
    yield from _left_behind(home)
    exports = sorted(path for path in home.exports.glob("*/*") if is_sha256(path.name))
    for _, some in _pieces(exports):
        digest = t.versions.c.digest
        names = [path.name for path in some]
        kept = set(connection.scalars(select(digest).where(digest.in_(names), _stays(before))))
        yield from (Waste("export", path, weight(path)) for path in some if path.name not in kept)


def _left_behind(home: Home) -> Iterator[Waste]:
    for folder in dict.fromkeys((home.drafts, home.scratch)):
        for path in staging.abandoned(folder):
            yield Waste("scratch", path, weight(path))


def _is_old(path: Path, before: datetime) -> bool:
    try:
        return path.stat().st_mtime <= before.replace(tzinfo=UTC).timestamp()
    except FileNotFoundError:
        return False


def _purge(connection: Connection, some: Sequence[int], before: datetime) -> Garbage:
    """Take versions away that are in the bin since then still, and the rows that only they needed."""
    v = t.versions.c
    query = select(v.id, v.number, v.digest, v.removed_at, t.adapters.c.name)
    query = query.join(t.adapters, t.adapters.c.id == v.adapter_id)
    rows = connection.execute(query.where(v.id.in_(some), v.removed_at <= before).order_by(v.id)).all()
    ids, had = [row.id for row in rows], {row.digest for row in rows}
    _drop_aliases(connection, ids)
    connection.execute(delete(t.words).where(t.words.c.rowid.in_(ids)))
    connection.execute(delete(t.versions).where(v.id.in_(ids)))  # and by it all that is the version's own
    gone = had - set(connection.scalars(select(v.digest).where(v.digest.in_(had))))
    scores, preferences = (
        connection.execute(delete(table).where(table.c.digest.in_(gone))).rowcount
        for table in (t.scores, t.preferences)
    )
    for row in rows:
        log.write(connection, "purge", row.name, row.number, row.digest)
    return Garbage(tuple(map(_purged, rows)), scores, preferences)


def _drop_aliases(connection: Connection, ids: Sequence[int]) -> None:
    """Take away the aliases that would point at nothing; their history keeps them."""
    here = t.aliases.c.version_id.in_(ids)
    held = connection.execute(select(t.aliases.c.adapter_id, t.aliases.c.alias).where(here)).all()
    moves = [{"adapter_id": row.adapter_id, "alias": row.alias, "number": None, "at": now()} for row in held]
    if moves:
        connection.execute(insert(t.alias_moves), moves)
        connection.execute(delete(t.aliases).where(here))


def _unlink(connection: Connection, some: Sequence[Waste], before: datetime) -> list[Waste]:
    """Take blobs away that still no row names. Nobody else writes meanwhile, so none can come to name them."""
    names = [one.path.name for one in some]
    needed = set(connection.scalars(select(t.files.c.sha256).where(t.files.c.sha256.in_(names)).distinct()))
    needed.update(
        connection.scalars(select(t.scores.c["items"]).where(t.scores.c["items"].in_(names)).distinct())
    )
    gone = []
    for one in some:
        if one.path.name not in needed and _is_old(one.path, before):
            with staging.told():
                one.path.unlink(missing_ok=True)
            gone.append(one)
    return gone


def _remove_export(connection: Connection, one: Waste, home: Home) -> bool:
    """Take the folder away of a content that no version has. Says whether it went."""
    from filelock import FileLock

    digest = t.versions.c.digest
    with staging.told(), FileLock(one.path.parent / ".lock"):
        if connection.scalar(select(digest).where(digest == one.path.name).limit(1)) is not None:
            return False
        with staging.staging(home.drafts) as stage:
            one.path.rename(stage.folder / "export")
    return True


def _pieces(items: Sequence[Item]) -> Iterator[tuple[int, Sequence[Item]]]:
    """A few at a time, and how many came before them."""
    for at in range(0, len(items), AT_ONCE):
        yield at, items[at : at + AT_ONCE]
