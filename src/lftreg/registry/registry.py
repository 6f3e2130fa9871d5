"""The registry: one object, one home, every verb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, func, insert, select

from lftreg.config import without_password
from lftreg.errors import NotFound
from lftreg.registry import (
    bin,
    copying,
    finding,
    garbage,
    hashing,
    labels,
    log,
    lookup,
    paging,
    upkeep,
    words,
)
from lftreg.registry import engine as db
from lftreg.registry import schema as t
from lftreg.registry.ancestry import lineage_of
from lftreg.registry.content import changed, check_origin, checked_config, parameters_of, shape_of
from lftreg.registry.garbage import Garbage
from lftreg.registry.inserts import insert_version, remember, staged_files
from lftreg.registry.integrity import Inspector, Verified, marked
from lftreg.registry.keys import Keys
from lftreg.registry.log import Entry
from lftreg.registry.owner import check, claim
from lftreg.registry.records import (
    CONFIG,
    WEIGHTS,
    AliasMove,
    Base,
    Draft,
    File,
    Lineage,
    Listed,
    Problem,
    Version,
)
from lftreg.registry.ref import Ref, check_limit, check_name
from lftreg.registry.scores import Scores
from lftreg.registry.stats import Stats, measure
from lftreg.registry.store import Store

EMPTY = "the registry is empty: `lftreg train customer_support` is a beginning"

# Inside the class `list` is its verb.
Versions = list[Version]
Bases = list[tuple[Base, int]]
Moves = list[AliasMove]
Entries = list[Entry]
Problems = list[Problem]
Files = list[File]
Briefs = list[Listed]
Nearest = dict[str, str | None]
Figures = tuple[list[str], list[dict[str, float]]]


class Registry(Store):
    """Adapters, their versions, and everything known about them.

    Opens nothing before it is asked; creates nothing before it is written to. Safe to use from many
    processes at once; an instance belongs to one thread.
    """

    def __enter__(self) -> Registry:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if "_engine" in self.__dict__:
            self._engine.dispose()

    # Make

    def check_name(self, name: str) -> str:
        return check_name(name)

    def check_files(self) -> None:
        """Raises CheckFailed where what is made could not be kept: the files are another registry's, or may be."""
        with self._reading() as connection:
            check(connection, self.blobs)

    def publish(self, draft: Draft) -> Version:
        """Register a new version. A kill leaves garbage, never half a version.

        Files are written first, and get their names in the transaction that writes the rows which name them.
        """
        check_name(draft.name)
        labels.check_tags(draft.tags)
        check_origin(draft)
        shape_of(draft.config)
        with self.blobs.staging() as stage:
            staged = staged_files(stage, draft)
            parameters = parameters_of(staged[WEIGHTS].staged)
            with self._writing() as connection:
                claim(connection, self.blobs)
                fresh = self.blobs.place(list(staged.values()))
                version = insert_version(connection, draft, staged, parameters)
                damaged = marked(connection, fresh)
        if damaged:
            self._inspector.inspect(damaged)
        return version

    def remember_base(self, base: Base) -> None:
        with self._writing() as connection:
            remember(connection, base)

    def fingerprint_of(self, signature: str) -> Base | None:
        """The base that a folder of this signature was found to be."""
        query = select(t.bases).join(t.fingerprints).where(t.fingerprints.c.signature == signature)
        with self._reading() as connection:
            row = connection and connection.execute(query).first()
        return Base(row.fingerprint, row.id, row.model_type, row.parameters) if row else None

    def remember_fingerprint(self, signature: str, base: Base) -> None:
        with self._writing() as connection:
            remember(connection, base)
            connection.execute(delete(t.fingerprints).where(t.fingerprints.c.signature == signature))
            connection.execute(
                insert(t.fingerprints).values(signature=signature, fingerprint=base.fingerprint)
            )

    # Find

    def get(self, ref: str | Ref) -> Version:
        with self._reading() as connection:
            return self._pair(connection, ref)[1]

    def list(self, **filters: Any) -> Versions:
        """Versions newest first, one an adapter unless `all_versions`: name, domain, base, kind, digest, tags, removed.

        `where` is an expression such as "bleu > 30 and base = starter", `sort` a list of fields such as "-bleu,name",
        `limit` and `after` (a REF) make a page; see `finding.select_versions`. Raises UsageError for what is no
        expression or no field, NotFound for an `after` that is not there.
        """
        return self._select(**filters)

    def listed(self, base: str) -> Briefs:
        """Every version on a base of this fingerprint, briefly: for lists of thousands."""
        with self._reading() as connection:
            return [] if connection is None else lookup.listed(connection, base)

    def search(self, text: str = "", limit: int | None = 50, **filters: Any) -> Versions:
        """Every version of which each word of `text` begins a word, newest first; the filters are those of `list`.

        The words are those of its name, aliases, tags, domain, base, kind, method, README.md, and of the suites and
        metrics it was scored by. No text is an error.
        """
        return self._select(**({"all_versions": True} | filters), text=text, limit=limit)

    def near(self, text: str) -> Nearest:
        """Of the words of a text those that begin no word of any version, each with the nearest word there is."""
        with self._reading() as connection:
            return {} if connection is None else words.near(connection, text)

    def measured(
        self, versions: Sequence[Version], where: str | None = None, sort: str | None = None
    ) -> Figures:
        """The metrics and losses that an expression and an order name, and their values for each version."""
        names = finding.figures(where, sort)
        with self._reading() as connection:
            return names, [] if connection is None else finding.measured(connection, versions, names)

    def page(self, base: str, text: str = "", **wanted: Any) -> tuple[int, Versions]:
        """How many versions on a base match, and a page of them; see `paging.page`."""
        check_limit(wanted.get("limit"))
        check_limit(wanted.get("offset"))
        with self._reading() as connection:
            return (0, []) if connection is None else paging.page(connection, base, text, **wanted)

    def lineage(self, ref: str | Ref) -> Lineage:
        """A version and its ancestors; an ancestor that is gone keeps its name and digest."""
        with self._reading() as connection:
            version = self._pair(connection, ref)[1]
            assert connection is not None
            return lineage_of(connection, version, version.ref, None)

    def bases(self) -> Bases:
        """Every base that was seen, and how many adapters stand on it."""
        counted = (
            select(t.versions.c.base, func.count(t.versions.c.adapter_id.distinct()).label("adapters"))
            .where(t.versions.c.removed_at.is_(None))
            .group_by(t.versions.c.base)
            .subquery()
        )
        query = select(t.bases, func.coalesce(counted.c.adapters, 0).label("adapters")).outerjoin(
            counted, counted.c.base == t.bases.c.fingerprint
        )
        with self._reading() as connection:
            rows = [] if connection is None else connection.execute(query.order_by(t.bases.c.id)).all()
        return [(Base(r.fingerprint, r.id, r.model_type, r.parameters), r.adapters) for r in rows]

    def file(self, version: Version, name: str) -> Path:
        """The stored file of a version. Raises NotFound for a name it has not, CheckFailed if it is lost."""
        for file in version.files:
            if file.name == name:
                return self.blobs.open(file.sha256, f"{name} of {version.ref}")
        raise NotFound(f"{version.ref} has no file {name!r}", f"`lftreg show {version.ref}` lists them")

    def weights(self, version: Version) -> Path:
        """The stored weights, hashed before they are used. Raises CheckFailed where they are lost or have changed."""
        path = self.file(version, WEIGHTS)
        if not self.blobs.is_whole(path.name):
            raise changed(WEIGHTS, version)
        return path

    def read(self, version: Version, name: str) -> bytes:
        return self.file(version, name).read_bytes()

    def config(self, version: Version) -> dict[str, Any]:
        """The adapter's PEFT configuration. Raises CheckFailed where it is not the one that was stored."""
        return checked_config(self.read(version, CONFIG), version)

    @cached_property
    def scores(self) -> Scores:
        """What evaluations found, and what people preferred."""
        return Scores(self.blobs, self._reading, self._writing, remember)

    @cached_property
    def keys(self) -> Keys:
        """Who may ask a server."""
        return Keys(self._reading, self._writing)

    # Label

    def tag(self, ref: str | Ref, tags: Mapping[str, str | None]) -> Version:
        """Set tags, or take away those given as None."""
        labels.check_tags(tags)
        with self._writing() as connection:
            return labels.tag(connection, ref, tags)

    def alias(self, ref: str | Ref, alias: str) -> Version:
        """Give a version a name that may move; its former holder loses it, the history keeps both.

        Where the version has it already, nothing is written.
        """
        with self._writing() as connection:
            return labels.alias(connection, ref, alias)

    def unalias(self, name: str, alias: str) -> None:
        with self._writing() as connection:
            labels.unalias(connection, name, alias)

    def alias_history(self, name: str, alias: str | None = None) -> Moves:
        """Moves of an adapter's aliases, oldest first."""
        with self._reading() as connection:
            return [] if connection is None else labels.history(connection, name, alias)

    def log(self, **wanted: Any) -> Entries:
        """Who did what and when, the newest first; see `log.read` for the filters."""
        check_limit(wanted.get("limit"))
        with self._reading() as connection:
            return [] if connection is None else log.read(connection, **wanted)

    def note(self, version: Version, action: str, **details: Any) -> None:
        """Write down what was done with a version elsewhere, such as that it was pushed."""
        with self._writing() as connection:
            log.write(connection, action, version.name, version.number, version.digest, **details)

    # Keep

    def remove(self, ref: str | Ref) -> Versions:
        """Put a version in the bin; a bare name means all of its versions. `restore` brings them back."""
        with self._writing() as connection:
            return bin.mark(connection, ref, removed=False)

    def restore(self, ref: str | Ref) -> Versions:
        with self._writing() as connection:
            return bin.mark(connection, ref, removed=True)

    def gc(
        self, keep_days: float = 30, dry_run: bool = False, listen: garbage.Listener = garbage.silent
    ) -> Garbage:
        """Delete what nobody needed for `keep_days`, and tell what; or, in a `dry_run`, only tell.

        Versions that were in the bin for so long are purged, with the scores of content that no version has any
        more; their numbers never come again, and what was made of them keeps their refs and digests. Then go the
        files that no row names, what killed processes left, and exports of content that is gone. Others may write
        meanwhile. Raises CheckFailed where there are files and no database.
        """
        collector = garbage.Collector(self.home, self.blobs, self._reading, self._writing)
        return collector.find(keep_days) if dry_run else collector.collect(keep_days, listen)

    def stats(self) -> Stats:
        """How much there is: versions, scores, runs, and bytes named, shared and stored."""
        with self._reading() as connection:
            return measure(connection, self.home, self.blobs)

    def verify(self, ref: str | Ref | None = None) -> Problems:
        """What is wrong with a version, or with everything; see `inspect`."""
        return list(self.inspect(ref).problems)

    def inspect(
        self, ref: str | Ref | None = None, *, repair: bool = False, listen: hashing.Listener = hashing.silent
    ) -> Verified:
        """Hash the files of a version and the items of its scores, or all there are, and check what refers to them.

        Of everything, versions in the bin too, rows are held to what they refer to and to what was made of them;
        `repair` makes that anew. Damaged files are set apart in `quarantine`, versions that need them are marked, and
        marks of what is whole again are taken away; a registry that cannot be written to is only told about.
        """
        ids = None
        if ref is not None:
            with self._reading() as connection:
                ids = [self._pair(connection, ref)[0]]
        return self._inspector.inspect(ids, repair=repair, listen=listen)

    def schema(self) -> tuple[str | None, str]:
        """The schema the database has, and the one this lftreg writes."""
        if not self._exists():
            return None, t.HEAD
        with db.reading(self._engine) as connection:
            return upkeep.current(connection), t.HEAD

    def upgrade(self) -> None:
        """Make the database, or bring an older one up to date; `migrated` says what was done."""
        with self._reading() as connection:
            if connection is not None:
                return
        self._prepare()

    def backup(self, target: Path) -> Path:
        """A consistent copy of the database as a file of SQLite, taken while others go on writing."""
        self._must_exist("nothing to back up yet")
        copying.backup(self._engine, target)
        return target

    def copy_to(self, url: str) -> dict[str, int]:
        """Copy the database into an empty one, all or nothing. Returns how many rows each table has.

        The adapters' files are not copied. Raises UsageError for a target that holds anything.
        """
        self._must_exist("nothing to copy yet")
        with self._reading():
            pass  # an older schema is moved up first
        return copying.copy_to(self._engine, url)

    # Within

    def _must_exist(self, hint: str) -> None:
        if self.schema()[0] is None:
            where = db.file_of(self._engine.url) or without_password(self.url)
            raise NotFound(f"there is no database at {where}", hint)

    @cached_property
    def _inspector(self) -> Inspector:
        return Inspector(self.blobs, self._reading, self._writing)

    def _pair(self, connection: Connection | None, ref: str | Ref) -> tuple[int, Version]:
        """The version of a REF and the id of its row."""
        if connection is None:
            check(connection, self.blobs)
            raise NotFound(f"unknown adapter {str(ref)!r}", EMPTY, code="unknown-adapter")
        return lookup.find_pair(connection, ref)

    def _select(self, **filters: Any) -> Versions:
        check_limit(filters.get("limit"))
        with self._reading() as connection:
            if connection is not None:
                return finding.select_versions(connection, **filters)
        finding.figures(filters.get("where"), filters.get("sort"))  # what cannot be read is said in any case
        return []
