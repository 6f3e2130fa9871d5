"""Whether everything is what was stored: every file by its digest, every reference by what it refers to.

What is broken is named, marked, and set apart: a damaged file is moved to `quarantine` and kept there, so that equal
content which is stored again heals what needs it; versions carry in `damage` what is wrong with them. All of it is
found outside of any transaction that writes, and looked at once more within the one that marks it.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, bindparam, select, update

from lftreg.errors import StorageError
from lftreg.registry import derived, log, references
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs
from lftreg.registry.content import digest_of
from lftreg.registry.hashing import Hashed, Listener, hash_all, identity, silent
from lftreg.registry.owner import check
from lftreg.registry.records import CONFIG, WEIGHTS, Problem
from lftreg.registry.rows import chunks

AT_ONCE = 100  # versions or files of one transaction that writes
READ_AT_ONCE = 10_000


@dataclass(frozen=True, slots=True)
class Verified:
    """What was looked at and what is wrong with it.

    `checked` counts versions, with those in the bin where all are looked at; `files` and `bytes` what was read.
    `apart` are damaged files where they lie now, `healed` versions that were damaged and are whole, `repaired` tables
    that were made anew, `notes` what is no damage. `noted` is False where the registry could not be written to.
    """

    checked: int
    files: int
    bytes: int
    problems: tuple[Problem, ...]
    notes: tuple[str, ...] = ()
    apart: tuple[Path, ...] = ()
    healed: tuple[str, ...] = ()
    repaired: tuple[str, ...] = ()
    noted: bool = True


@dataclass(slots=True)
class _Version:
    """A version as far as it can be wrong."""

    id: int
    name: str
    number: int
    digest: str
    damage: str | None
    files: dict[str, tuple[str, int]] = field(default_factory=dict)  # name: sha256 and size

    @property
    def ref(self) -> str:
        return f"{self.name}@{self.number}"


@dataclass(slots=True)
class _Work:
    """What one inspection goes through, and what it found."""

    versions: list[_Version]
    scores: list[Any]
    strays: list[str] = field(default_factory=list)
    states: dict[str, Hashed] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    wrong: dict[int, list[str]] = field(default_factory=lambda: defaultdict(list))  # version: what is
    apart: list[Path] = field(default_factory=list)
    healed: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Inspector:
    """Looks a registry over. `Registry.inspect` makes it."""

    blobs: Blobs
    reading: Callable[[], AbstractContextManager[Connection | None]]
    writing: Callable[[], AbstractContextManager[Connection]]

    def inspect(
        self, ids: Sequence[int] | None = None, *, repair: bool = False, listen: Listener = silent
    ) -> Verified:
        """Look at the versions of these rows and at their scores, or at everything."""
        self.blobs.must_be_there()  # or all of it would be marked as lost
        with self.reading() as connection:
            check(
                connection, self.blobs
            )  # beside the files of another, all of it would be marked as lost, too
            if connection is None:
                return Verified(0, 0, 0, ())
            work = _Work(list(_versions(connection, ids)), [])
            work.scores = _scores(connection, None if ids is None else {v.digest for v in work.versions})
        names = {sha256 for version in work.versions for sha256, _ in version.files.values()}
        names |= {score.items for score in work.scores}
        if ids is None:
            work.strays = sorted({entry.name for entry in self.blobs.everything()} - names)
        work.states = hash_all(self.blobs, [*sorted(names), *work.strays], listen)
        self._forget(work)
        self._judge(work)
        noted = self._note(work)
        notes, repaired = self._references(work, repair, listen) if ids is None else ((), ())
        read = [state for state in work.states.values() if state.bytes is not None]
        return Verified(
            len(work.versions),
            len(read),
            sum(state.bytes or 0 for state in read),
            tuple(work.problems),
            notes,
            tuple(work.apart),
            tuple(work.healed),
            repaired,
            noted,
        )

    def _forget(self, work: _Work) -> None:
        """Leave out scores that were purged since, and their files with them."""
        lost = list({score.items for score in work.scores if not work.states[score.items].whole})
        if lost:
            column = t.scores.c["items"]
            with self.reading() as connection:
                assert connection is not None
                there = {
                    name
                    for some in chunks(lost)
                    for name in connection.scalars(select(column).where(column.in_(some)))
                }
            gone = set(lost) - there
            work.scores = [score for score in work.scores if score.items not in gone]

    def _judge(self, work: _Work) -> None:
        """What is wrong, by what was read."""
        for version in work.versions:
            for code, message in self._of_version(version, work.states):
                work.problems.append(Problem(version.ref, code, message))
                work.wrong[version.id].append(message)
        refs = {version.digest: version.ref for version in reversed(work.versions)}
        for score in work.scores:
            state = work.states[score.items]
            if not state.whole:
                ref = refs.get(score.digest, score.ref)
                lost = state.missing and self.blobs.apart(score.items) is None
                what = "missing" if lost else "not what was stored"
                message = f"{score.suite}, {score.n} items: what was answered is {what}"
                work.problems.append(Problem(ref, "missing-score" if lost else "changed-score", message))
        for name in work.strays:
            if work.states[name].changed:
                message = "a file that nothing names is not what its own name says"
                work.problems.append(Problem(f"blobs/{name[:12]}", "changed-blob", message))

    def _of_version(self, version: _Version, states: dict[str, Hashed]) -> Iterator[tuple[str, str]]:
        for name in (WEIGHTS, CONFIG):
            if name not in version.files:
                yield "missing-row", f"no row tells of its {name}"
        for name, (sha256, size) in version.files.items():
            state = states[sha256]
            if state.missing and self.blobs.apart(sha256) is None:
                yield "missing-file", f"{name} is missing"
            elif state.missing or state.changed:
                yield "changed-file", f"{name} is not what was stored"
            elif not state.whole:
                yield "unreadable-file", f"{name} cannot be read: {state.error}"
            elif state.bytes != size:
                yield "changed-row", f"{name} has {state.bytes} bytes, and its row says {size}"
        known = [version.files.get(name) for name in (WEIGHTS, CONFIG)]
        weights, config = (one[0] if one and states[one[0]].whole else None for one in known)
        if weights is not None and config is not None:
            content = self.blobs.read(config)  # None where it was collected since
            if content is not None and digest_of(weights, json.loads(content)) != version.digest:
                yield "digest", "the digest does not fit the files"

    def _note(self, work: _Work) -> bool:
        """Mark what is damaged, unmark what is whole, and set damaged files apart. Says whether that was possible."""
        marks = [v for v in work.versions if v.id in work.wrong or v.damage is not None]
        changed = [name for name, state in work.states.items() if state.changed]
        try:
            for some in _pieces(marks, AT_ONCE):
                with self.writing() as connection:
                    self._mark(connection, some, work)
            for names in _pieces(changed, AT_ONCE):
                with self.writing():  # nobody puts a whole file there meanwhile
                    still = [n for n in names if identity(self.blobs.path(n)) == work.states[n].identity]
                    work.apart += [self.blobs.set_apart(name) for name in still]
        except StorageError:
            return False
        return True

    def _mark(self, connection: Connection, some: Sequence[_Version], work: _Work) -> None:
        v = t.versions.c
        ids = [version.id for version in some]  # which may be those of others by now, but digests are not
        still = {
            (id_, digest) for id_, digest in connection.execute(select(v.id, v.digest).where(v.id.in_(ids)))
        }
        for version in some:
            files = [(sha256, work.states[sha256]) for sha256, _ in version.files.values()]
            moved = any(state.identity != identity(self.blobs.path(sha256)) for sha256, state in files)
            if (
                version.id,
                version.digest,
            ) not in still or moved:  # purged, healed or set apart since: the next will tell
                work.problems = [p for p in work.problems if p.ref != version.ref]
                continue
            damage = "; ".join(work.wrong.get(version.id, ())) or None
            if damage == version.damage:
                continue
            connection.execute(update(t.versions).where(v.id == version.id).values(damage=damage))
            action, details = ("heal", {}) if damage is None else ("damage", {"what": damage})
            log.write(connection, action, version.name, version.number, version.digest, **details)
            if damage is None:
                work.healed.append(version.ref)

    def _references(
        self, work: _Work, repair: bool, listen: Listener
    ) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """What rows refer to and what is made of them: notes, and the tables that were made anew."""
        with self.reading() as connection:
            assert connection is not None
            listen("checking references", 0, 0, 0, 0)
            work.problems += references.problems(connection)
            notes = tuple(references.notes(connection))
            stale = derived.stale(connection)
        if stale and repair:
            with self.writing() as connection:
                derived.rebuild(connection)
            return notes, tuple(stale)
        work.problems += [
            Problem(
                table,
                f"stale-{table}",
                f"{number} rows are not what they are made of: `verify --all --repair`",
            )
            for table, number in stale.items()
        ]
        return notes, ()


_MARKED = (
    select(t.versions.c.id)
    .join(t.files, t.files.c.version_id == t.versions.c.id)
    .where(t.files.c.sha256.in_(bindparam("contents", expanding=True)), t.versions.c.damage.is_not(None))
    .distinct()
)


def marked(connection: Connection, contents: Sequence[str]) -> list[int]:
    """The rows of versions that are marked as damaged and need one of these contents."""
    if not contents:
        return []
    return list(connection.scalars(_MARKED, {"contents": contents}))


def _versions(connection: Connection, ids: Sequence[int] | None) -> Iterator[_Version]:
    """The versions of these rows, or all of them, the newest first, with their files."""
    v, f = t.versions.c, t.files.c
    query = select(v.id, t.adapters.c.name, v.number, v.digest, v.damage)
    query = query.join(t.adapters, t.adapters.c.id == v.adapter_id).order_by(v.id.desc())
    files = select(f.version_id, f.name, f.sha256, f.size).order_by(f.version_id, f.name)
    for some in [None] if ids is None else chunks(ids):
        of_these = () if some is None else (v.id.in_(some),)
        found = {row.id: _Version(*row) for row in connection.execute(query.where(*of_these))}
        of_these = () if some is None else (f.version_id.in_(some),)
        for version_id, name, sha256, size in connection.execute(files.where(*of_these)):
            if version_id in found:
                found[version_id].files[name] = sha256, size
        yield from found.values()


def _scores(connection: Connection, digests: set[str] | None) -> list[Any]:
    s = t.scores.c
    query = select(s.digest, s.ref, s.suite, s.n, s["items"]).order_by(s.id.desc())
    if digests is None:
        return list(connection.execute(query))
    found = (connection.execute(query.where(s.digest.in_(some))) for some in chunks(sorted(digests)))
    return [row for rows in found for row in rows]


def _pieces(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for at in range(0, len(items), size):
        yield items[at : at + size]
