"""The rows that a new version is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from sqlalchemy import Connection, bindparam, select, update

from lftreg.registry import log, measures, words
from lftreg.registry import schema as t
from lftreg.registry.content import config_bytes, digest_of, shape_of
from lftreg.registry.records import CONFIG, WEIGHTS, Base, Blob, Draft, File, Version
from lftreg.registry.rows import adding, fetch_ids, now
from lftreg.registry.staging import Stage
from lftreg.registry.words import CARD, card_text

_BASE = select(t.bases.c.id).where(t.bases.c.fingerprint == bindparam("fingerprint"))
_ADAPTER = select(t.adapters.c.id).where(t.adapters.c.name == bindparam("name"))
_here = t.adapters.c.id == bindparam("adapter")
_COUNT_ON = update(t.adapters).where(_here).values(last_number=t.adapters.c.last_number + 1)
_LAST_NUMBER = select(t.adapters.c.last_number).where(_here)


def remember(connection: Connection, base: Base) -> None:
    """Keep a base, if it is not known."""
    if connection.scalar(_BASE, {"fingerprint": base.fingerprint}) is None:
        connection.execute(
            adding(t.bases),
            {
                "fingerprint": base.fingerprint,
                "id": base.id,
                "model_type": base.model_type,
                "parameters": base.parameters,
            },
        )


def adapter_id(connection: Connection, name: str) -> int:
    """The row of an adapter, made where there is none."""
    found: int | None = connection.scalar(_ADAPTER, {"name": name})
    if found is None:
        key = connection.execute(adding(t.adapters), {"name": name}).inserted_primary_key
        assert key is not None
        found = int(key[0])
    return found


def next_number(connection: Connection, adapter: int) -> int:
    """The number of an adapter's next version: one that none had before, even if they were collected since."""
    connection.execute(_COUNT_ON, {"adapter": adapter})
    number: int = connection.execute(_LAST_NUMBER, {"adapter": adapter}).scalar_one()
    return number


def staged_files(stage: Stage, draft: Draft) -> dict[str, Blob]:
    """The files of a draft, staged: its weights, its configuration, its attachments."""
    files: dict[str, Blob | Path | bytes] = {WEIGHTS: draft.weights, CONFIG: config_bytes(draft.config)}
    files |= draft.attachments
    made = iter(stage.put_all([content for content in files.values() if not isinstance(content, Blob)]))
    return {name: content if isinstance(content, Blob) else next(made) for name, content in files.items()}


def insert_version(
    connection: Connection, draft: Draft, staged: Mapping[str, Blob], parameters: int
) -> Version:
    """All rows of a new version, and its line in the log."""
    remember(connection, draft.base)
    adapter = adapter_id(connection, draft.name)
    rank, alpha, targets = shape_of(draft.config)
    row = {
        "adapter_id": adapter,
        "number": next_number(connection, adapter),
        "digest": digest_of(staged[WEIGHTS].sha256, draft.config),
        "kind": draft.kind,
        "base": draft.base.fingerprint,
        "base_id": draft.base.id,
        "domain": draft.domain,
        "rank": rank,
        "alpha": alpha,
        "target_modules": targets,
        "trainable_parameters": parameters,
        "created_at": now(),
    }
    (version_id,) = connection.execute(adding(t.versions), row).inserted_primary_key or (0,)
    files = [
        File(name, blob.sha256, blob.size, name not in (WEIGHTS, CONFIG)) for name, blob in staged.items()
    ]
    insert_details(connection, version_id, draft, files)
    measures.begin(connection, version_id)
    words.refresh(connection, [version_id])
    (version,) = fetch_ids(connection, [version_id])
    log.write(connection, "register", draft.name, version.number, version.digest, kind=draft.kind)
    return version


def insert_details(connection: Connection, version_id: int, draft: Draft, stored: Sequence[File]) -> None:
    """The rows that belong to a version: its files, tags, run, recipe and parents."""
    own = {"version_id": version_id}
    connection.execute(
        adding(t.files),
        [
            own | {"name": f.name, "sha256": f.sha256, "size": f.size, "attachment": f.attachment}
            for f in stored
        ],
    )
    if card := draft.attachments.get(CARD):
        connection.execute(adding(t.cards), own | {"text": card_text(card)})
    if draft.tags:
        connection.execute(adding(t.tags), [own | {"key": k, "value": v} for k, v in draft.tags.items()])
    if draft.run is not None:
        fields = {c.name: getattr(draft.run, c.name) for c in t.runs.c if c.name != "version_id"}
        connection.execute(
            adding(t.runs),
            own | {k: dict(v) if isinstance(v, Mapping) else v for k, v in fields.items()},
        )
    if draft.recipe is not None:
        recipe = draft.recipe
        connection.execute(
            adding(t.recipes),
            own
            | {
                "method": recipe.method,
                "options": dict(recipe.options),
                "relative_error": recipe.relative_error,
            },
        )
        rows = [
            own | {"position": n, "ref": p.ref, "digest": p.digest, "weight": p.weight}
            for n, p in enumerate(recipe.parents)
        ]
        connection.execute(adding(t.parents), rows)
