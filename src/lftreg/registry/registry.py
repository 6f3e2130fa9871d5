"""The registry: one object, one home, every verb."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, delete, func, insert, select, update

from lftreg.errors import InvalidData, NotFound, StorageError
from lftreg.paths import Home, default_home
from lftreg.registry import engine as db
from lftreg.registry import lookup, upkeep
from lftreg.registry import schema as t
from lftreg.registry.blobs import Blobs
from lftreg.registry.content import config_bytes, digest_of, parameters_of, shape_of
from lftreg.registry.records import (
    CONFIG,
    WEIGHTS,
    AliasMove,
    Base,
    Blob,
    Draft,
    File,
    Lineage,
    Problem,
    Version,
)
from lftreg.registry.ref import Ref, check_alias, check_name, parse_ref
from lftreg.registry.rows import SELECT, fetch, now

EMPTY = "the registry is empty: `lftreg train customer_support` is a beginning"

# Inside the class `list` is its verb.
Versions = list[Version]
Bases = list[tuple[Base, int]]
Moves = list[AliasMove]
Problems = list[Problem]
Files = list[File]


class Registry:
    """Adapters, their versions, and everything known about them.

    Opens nothing before it is asked; creates nothing before it is written to. Safe to use from many
    processes at once; an instance belongs to one thread.
    """

    def __init__(self, home: Home | None = None, url: str | None = None) -> None:
        self.home = home or default_home()
        self.url = url or db.sqlite_url(self.home.database)
        self.blobs = Blobs(self.home)
        self._ready = False

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

    def publish(self, draft: Draft) -> Version:
        """Register a new version. Files first, row last: a kill leaves garbage, never half a version."""
        check_name(draft.name)
        rank, alpha, targets = shape_of(draft.config)
        config = config_bytes(draft.config)
        stored = [self._stored(WEIGHTS, draft.weights), self._stored(CONFIG, config)]
        stored += [self._stored(name, content, True) for name, content in draft.attachments.items()]
        digest = digest_of(stored[0].sha256, draft.config)
        with self._writing() as connection:
            self._remember(connection, draft.base)
            adapter = self._adapter_id(connection, draft.name)
            last = select(func.max(t.versions.c.number)).where(t.versions.c.adapter_id == adapter)
            row = {
                "adapter_id": adapter,
                "number": (connection.scalar(last) or 0) + 1,
                "digest": digest,
                "kind": draft.kind,
                "base": draft.base.fingerprint,
                "base_id": draft.base.id,
                "domain": draft.domain,
                "rank": rank,
                "alpha": alpha,
                "target_modules": targets,
                "trainable_parameters": parameters_of(self.blobs.path(stored[0].sha256)),
                "created_at": now(),
            }
            (version_id,) = connection.execute(insert(t.versions).values(row)).inserted_primary_key or (0,)
            self._insert_details(connection, version_id, draft, stored)
            (version,) = fetch(connection, SELECT.where(t.versions.c.id == version_id))
        return version

    def remember_base(self, base: Base) -> None:
        with self._writing() as connection:
            self._remember(connection, base)

    def fingerprint_of(self, signature: str) -> Base | None:
        """The base that a folder of this signature was found to be."""
        query = select(t.bases).join(t.fingerprints).where(t.fingerprints.c.signature == signature)
        with self._reading() as connection:
            row = connection and connection.execute(query).first()
        return Base(row.fingerprint, row.id, row.model_type, row.parameters) if row else None

    def remember_fingerprint(self, signature: str, base: Base) -> None:
        with self._writing() as connection:
            self._remember(connection, base)
            connection.execute(delete(t.fingerprints).where(t.fingerprints.c.signature == signature))
            connection.execute(
                insert(t.fingerprints).values(signature=signature, fingerprint=base.fingerprint)
            )

    # Find

    def get(self, ref: str | Ref) -> Version:
        with self._reading() as connection:
            if connection is None:
                raise NotFound(f"unknown adapter {str(ref)!r}", EMPTY, code="unknown-adapter")
            return lookup.find(connection, ref)

    def list(self, **filters: Any) -> Versions:
        """Versions newest first; see `lookup.select_versions` for the filters."""
        with self._reading() as connection:
            return [] if connection is None else lookup.select_versions(connection, **filters)

    def search(self, text: str, limit: int = 50) -> Versions:
        with self._reading() as connection:
            return [] if connection is None else lookup.search(connection, text, limit)

    def lineage(self, ref: str | Ref) -> Lineage:
        """A version and its ancestors; an ancestor that is gone keeps its name and digest."""
        version = self.get(ref)
        with self._reading() as connection:
            assert connection is not None
            return _lineage(connection, version, version.ref, None)

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
                return self.blobs.open(file.sha256)
        raise NotFound(f"{version.ref} has no file {name!r}", f"`lftreg show {version.ref}` lists them")

    def read(self, version: Version, name: str) -> bytes:
        return self.file(version, name).read_bytes()

    def config(self, version: Version) -> dict[str, Any]:
        """The adapter's PEFT configuration."""
        config: dict[str, Any] = json.loads(self.read(version, CONFIG))
        return config

    # Label

    def tag(self, ref: str | Ref, tags: Mapping[str, str | None]) -> Version:
        """Set tags, or take away those given as None."""
        for key in tags:
            if not key or len(key) > 128 or not key.isprintable():
                raise InvalidData(
                    f"tag {key[:80]!r} is not allowed", "use a short printable key", code="invalid-tag"
                )
        with self._writing() as connection:
            version = lookup.find(connection, ref)
            version_id = _id(connection, version)
            here = t.tags.c.version_id == version_id
            connection.execute(delete(t.tags).where(here, t.tags.c.key.in_(tags)))
            rows = [
                {"version_id": version_id, "key": k, "value": v} for k, v in tags.items() if v is not None
            ]
            if rows:
                connection.execute(insert(t.tags), rows)
            return lookup.find(connection, Ref(version.name, version.number))

    def alias(self, ref: str | Ref, alias: str) -> Version:
        """Give a version a name that may move; its former holder loses it, the history keeps both."""
        check_alias(alias)
        with self._writing() as connection:
            version = lookup.find(connection, ref)
            adapter = self._adapter_id(connection, version.name)
            key = {"adapter_id": adapter, "alias": alias}
            _drop_alias(connection, adapter, alias)
            connection.execute(insert(t.aliases).values(**key, version_id=_id(connection, version)))
            connection.execute(insert(t.alias_moves).values(**key, number=version.number, at=now()))
            return lookup.find(connection, Ref(version.name, version.number))

    def unalias(self, name: str, alias: str) -> None:
        with self._writing() as connection:
            lookup.find(connection, Ref(name, alias=alias), removed=True)
            adapter = self._adapter_id(connection, name)
            _drop_alias(connection, adapter, alias)
            connection.execute(
                insert(t.alias_moves).values(adapter_id=adapter, alias=alias, number=None, at=now())
            )

    def alias_history(self, name: str, alias: str | None = None) -> Moves:
        """Moves of an adapter's aliases, oldest first."""
        query = (
            select(t.alias_moves)
            .join(t.adapters, t.adapters.c.id == t.alias_moves.c.adapter_id)
            .where(t.adapters.c.name == name)
            .order_by(t.alias_moves.c.id)
        )
        if alias is not None:
            query = query.where(t.alias_moves.c.alias == alias)
        with self._reading() as connection:
            rows = [] if connection is None else connection.execute(query).all()
        from datetime import UTC

        return [AliasMove(name, r.alias, r.number, r.at.replace(tzinfo=UTC)) for r in rows]

    # Keep

    def remove(self, ref: str | Ref) -> Versions:
        """Put a version in the bin; a bare name means all of its versions. `restore` brings them back."""
        return self._mark(ref, removed=False)

    def restore(self, ref: str | Ref) -> Versions:
        return self._mark(ref, removed=True)

    def verify(self, ref: str | Ref | None = None) -> Problems:
        """What is wrong with a version, or with all of them: files, digests, configurations."""
        versions = [self.get(ref)] if ref is not None else self.list(all_versions=True)
        return [problem for version in versions for problem in self._problems(version)]

    def schema(self) -> tuple[str | None, str]:
        """The schema the database has, and the one this lftreg writes."""
        if not self._exists():
            return None, t.HEAD
        with db.reading(self._engine) as connection:
            return upkeep.current(connection), t.HEAD

    def upgrade(self) -> None:
        self._prepare()

    def backup(self, target: Path) -> Path:
        """A consistent copy of the database, taken while others go on writing."""
        if not self._exists():
            raise NotFound(f"there is no database at {self.home.database}", "nothing to back up yet")
        with db.told(), sqlite3.connect(self.home.database) as source, sqlite3.connect(target) as copy:
            source.backup(copy)
        return target

    # Within

    @cached_property
    def _engine(self) -> Engine:
        return db.make_engine(self.url)

    def _exists(self) -> bool:
        return self._engine.dialect.name != "sqlite" or self.home.database.exists()

    @contextmanager
    def _reading(self) -> Iterator[Connection | None]:
        """A read transaction, or None where nothing was ever written."""
        if not self._exists():
            yield None
            return
        with db.reading(self._engine) as connection:
            if not self._ready:
                found = upkeep.current(connection)
                upkeep.refuse_newer(found)
                self._ready = found == t.HEAD
            if self._ready:
                yield connection
                return
        self._prepare()
        with db.reading(self._engine) as connection:
            yield connection

    @contextmanager
    def _writing(self) -> Iterator[Connection]:
        if not self._ready:
            self._prepare()
        with db.writing(self._engine) as connection:
            yield connection

    def _prepare(self) -> None:
        """Make the home and its database, or bring an older one up to date."""
        if self._engine.dialect.name == "sqlite":
            try:
                self.home.database.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise StorageError(
                    f"{self.home.root} cannot be made: {error.strerror}", "choose another --home"
                ) from error
        with db.told():
            upkeep.upgrade(self._engine)
        self._ready = True

    def _stored(self, name: str, content: Path | Blob | bytes, attachment: bool = False) -> File:
        if isinstance(content, Blob):
            return File(name, content.sha256, content.size, attachment)
        put = self.blobs.put_file(content) if isinstance(content, Path) else self.blobs.put_bytes(content)
        return File(name, *put, attachment)

    def _remember(self, connection: Connection, base: Base) -> None:
        known = connection.scalar(select(t.bases.c.id).where(t.bases.c.fingerprint == base.fingerprint))
        if known is None:
            connection.execute(
                insert(t.bases).values(
                    fingerprint=base.fingerprint,
                    id=base.id,
                    model_type=base.model_type,
                    parameters=base.parameters,
                )
            )

    def _adapter_id(self, connection: Connection, name: str) -> int:
        found: int | None = connection.scalar(select(t.adapters.c.id).where(t.adapters.c.name == name))
        if found is None:
            key = connection.execute(insert(t.adapters).values(name=name)).inserted_primary_key
            assert key is not None
            found = int(key[0])
        return found

    def _insert_details(self, connection: Connection, version_id: int, draft: Draft, stored: Files) -> None:
        own = {"version_id": version_id}
        connection.execute(
            insert(t.files),
            [
                own | {"name": f.name, "sha256": f.sha256, "size": f.size, "attachment": f.attachment}
                for f in stored
            ],
        )
        if draft.tags:
            connection.execute(insert(t.tags), [own | {"key": k, "value": v} for k, v in draft.tags.items()])
        if draft.run is not None:
            fields = {c.name: getattr(draft.run, c.name) for c in t.runs.c if c.name != "version_id"}
            connection.execute(
                insert(t.runs).values(
                    own | {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()}
                )
            )
        if draft.recipe is not None:
            recipe = draft.recipe
            connection.execute(
                insert(t.recipes).values(
                    own
                    | {
                        "method": recipe.method,
                        "options": dict(recipe.options),
                        "relative_error": recipe.relative_error,
                    }
                )
            )
            rows = [
                own | {"position": n, "ref": p.ref, "digest": p.digest, "weight": p.weight}
                for n, p in enumerate(recipe.parents)
            ]
            connection.execute(insert(t.parents), rows)

    def _mark(self, ref: str | Ref, *, removed: bool) -> Versions:
        wanted = parse_ref(ref) if isinstance(ref, str) else ref
        with self._writing() as connection:
            version = lookup.find(connection, wanted, removed=True)
            here = [t.versions.c.adapter_id == self._adapter_id(connection, version.name)]
            here.append(
                t.versions.c.removed_at.is_not(None) if removed else t.versions.c.removed_at.is_(None)
            )
            if wanted != Ref(wanted.name):
                here.append(t.versions.c.number == version.number)
            ids = connection.scalars(select(t.versions.c.id).where(*here)).all()
            if not ids:
                what = "nothing of {} to restore" if removed else "{} is removed already"
                raise NotFound(
                    what.format(wanted), "`lftreg list --removed` shows the bin", code="unknown-version"
                )
            connection.execute(
                update(t.versions)
                .where(t.versions.c.id.in_(ids))
                .values(removed_at=None if removed else now())
            )
            return fetch(connection, SELECT.where(t.versions.c.id.in_(ids)).order_by(t.versions.c.number))

    def _problems(self, version: Version) -> Iterator[Problem]:
        whole = True
        for file in version.files:
            path = self.blobs.path(file.sha256)
            if not path.is_file():
                whole = False
                yield Problem(version.ref, "missing-file", f"{file.name} is missing")
            elif path.stat().st_size != file.size or not self.blobs.is_whole(file.sha256):
                whole = False
                yield Problem(version.ref, "changed-file", f"{file.name} is not what was stored")
        if whole:
            weights = next(f for f in version.files if f.name == WEIGHTS)
            if digest_of(weights.sha256, self.config(version)) != version.digest:
                yield Problem(version.ref, "digest", "the digest does not fit the files")


def _id(connection: Connection, version: Version) -> int:
    query = (
        select(t.versions.c.id)
        .join(t.adapters, t.adapters.c.id == t.versions.c.adapter_id)
        .where(t.adapters.c.name == version.name, t.versions.c.number == version.number)
    )
    found: int = connection.execute(query).scalar_one()
    return found


def _drop_alias(connection: Connection, adapter: int, alias: str) -> None:
    connection.execute(delete(t.aliases).where(t.aliases.c.adapter_id == adapter, t.aliases.c.alias == alias))


def _lineage(
    connection: Connection, version: Version | None, ref: str, weight: float | None, digest: str = ""
) -> Lineage:
    if version is None:
        return Lineage(None, ref, digest, weight)
    made_of = version.recipe.parents if version.recipe else ()
    if version.run is not None and version.run.parent is not None:
        made_of = (version.run.parent,)
    parents = [
        _lineage(
            connection,
            _older(connection, version, p.digest),
            p.ref,
            p.weight if version.recipe else None,
            p.digest,
        )
        for p in made_of
    ]
    return Lineage(version, ref, version.digest, weight, tuple(parents))


def _older(connection: Connection, child: Version, digest: str) -> Version | None:
    """A version of this content made before `child`: equal content may have been made again since."""
    query = SELECT.where(t.versions.c.digest == digest, t.versions.c.id < _id(connection, child))
    found = fetch(connection, query.order_by(t.versions.c.id.desc()).limit(1))
    return found[0] if found else None
