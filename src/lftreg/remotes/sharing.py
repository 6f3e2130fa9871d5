"""Push and pull, whatever the remote: what is sent, what is let in, and where a version came from.

A remote moves files. What they are is made here from the registry, and judged here before it is registered.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

from lftreg.errors import InvalidData, InvalidReference, LftregError, NotFound, UsageError
from lftreg.plugins.host import Host
from lftreg.plugins.types import Errand, Parcel, Patience, Remote, Sent, Taken, Told
from lftreg.registry import CONFIG, WEIGHTS, File, Registry, Version
from lftreg.registry.content import digest_of
from lftreg.remotes.bases import base_of
from lftreg.remotes.card import CARD, write_card
from lftreg.remotes.folder import import_folder
from lftreg.remotes.leaks import refuse_secrets
from lftreg.remotes.manifest import LARGEST as LARGEST_MANIFEST
from lftreg.remotes.manifest import MANIFEST, THEIRS, Manifest, make_manifest, read_manifest, refuse
from lftreg.remotes.origin import ORIGIN, read_origin
from lftreg.scrub import scrub
from lftreg.tensors import settings_of

WANTED: Mapping[str, int | None] = {
    MANIFEST: LARGEST_MANIFEST, CONFIG: 1_000_000, CARD: 1_000_000, WEIGHTS: None,
}  # fmt: skip
_SCHEME = re.compile(r"([a-z0-9][a-z0-9._-]{1,63}):(.+)", re.DOTALL)
_REMEMBERED = 1_000  # pushes and pulls that are looked through


@dataclass(frozen=True, slots=True)
class Place:
    """Where to push to or pull from: `org/name@v3` is of the hub, `folder:/srv/share/x` of a folder."""

    remote: str
    path: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.remote}:{self.path}" + (f"@{self.revision}" if self.revision else "")


@dataclass(frozen=True, slots=True)
class Pulled:
    """A version that was pulled, and where from. `unchanged` says that it was here already."""

    version: Version
    origin: Mapping[str, Any]
    unchanged: bool


def parse_place(text: str) -> Place:
    """Read a place. Raises InvalidReference."""
    found = _SCHEME.fullmatch(text)
    remote, path = (found[1], found[2]) if found else ("hub", text)
    if remote in ("http", "https"):
        raise InvalidReference(
            f"{scrub(text)[:80]!r} is an address, not a place to share by",
            "write ORG/NAME; another server than the Hub goes into HF_ENDPOINT",
        )
    if remote == "folder":
        return Place(remote, path)
    path, at, revision = path.partition("@")
    if not path or (at and not revision) or "@" in revision:
        raise InvalidReference(
            f"{scrub(text)[:80]!r} is no place to share by",
            "write ORG/NAME, ORG/NAME@REVISION or folder:PATH",
        )
    return Place(remote, path, revision or None)


def push(
    registry: Registry,
    version: Version,
    place: Place,
    host: Host,
    *,
    message: str | None = None,
    private: bool = False,
    tag: str | None = None,
    create_pr: bool = False,
    force: bool = False,
    patience: Patience | None = None,
    told: Told | None = None,
) -> tuple[Sent, list[str]]:
    """Send a version to a place: weights, configuration, card and manifest. Gives what became of it, and the files.

    The same content again sends nothing. Raises InvalidData where something of it holds a token, what the remote
    raises, and CheckFailed where a stored file is damaged.
    """
    if place.revision is not None:
        raise UsageError("a push goes to the newest", "leave the @ out; --tag names it")
    remote = host.remote(place.remote)
    with registry.blobs.staging() as stage:
        files = _written(registry, version, stage.folder, place)
        message = message or f"{version.ref} of lftreg"
        refuse_secrets(files, message)
        sent = remote.push(
            Parcel(
                place.path,
                files,
                message,
                known=_last_seen(registry, place),
                private=private,
                tag=tag,
                create_pr=create_pr,
                force=force,
                patience=patience or Patience(),
                told=told or _silent,
            )
        )
    if not sent.unchanged:
        with contextlib.suppress(LftregError):  # it is pushed, even where this home cannot be written
            registry.note(version, "push", to=str(place), commit=sent.commit, revision=sent.revision, tag=tag)
    return sent, [*files]


def _written(registry: Registry, version: Version, scratch: Path, place: Place) -> dict[str, Path]:
    """The four files of a version, as others may have them."""
    manifest, contents = make_manifest(registry, version)
    card = write_card(version, registry, *([place.path] if place.remote == "hub" else [])).encode()
    kept = [file for file in manifest.files if not file.attachment]
    told = File(CARD, hashlib.sha256(card).hexdigest(), len(card), True)
    plain = {
        CONFIG: contents[CONFIG],
        CARD: card,
        MANIFEST: replace(manifest, files=(*kept, told)).to_bytes(),
    }
    weights = contents[WEIGHTS]
    assert isinstance(weights, Path)
    files = {WEIGHTS: weights}
    for name, content in plain.items():
        assert isinstance(content, bytes)
        (scratch / name).write_bytes(content)
        files[name] = scratch / name
    return files


def _last_seen(registry: Registry, place: Place) -> str | None:
    """The commit that this registry last sent to a place or took from it."""
    bare = str(replace(place, revision=None))
    found = [
        entry
        for action, word in (("push", "to"), ("pull", "from"))
        for entry in registry.log(action=action, limit=_REMEMBERED)
        if entry.details.get(word) == bare
    ]
    return str(max(found, key=lambda entry: entry.id).details["commit"]) if found else None


def pull(
    registry: Registry,
    place: Place,
    host: Host,
    *,
    name: str | None = None,
    base: str | None = None,
    patience: Patience | None = None,
    told: Told | None = None,
) -> Pulled:
    """Take a version in from a place, of one commit and through the gate, and keep where it came from.

    `base` is what it was made for, where its own word is unknown here. Raises what the remote and the gate raise.
    """
    name = registry.check_name(name or _name_of(place))
    remote = host.remote(place.remote)
    here: list[Version] = []

    def have(commit: str) -> bool:
        found = _pulled_before(registry, name, place, commit)
        here[:] = [version for version in found if base in (None, version.base.id)]
        return bool(here)

    with registry.blobs.staging() as stage:
        taken = remote.pull(
            Errand(
                place.path,
                place.revision,
                WANTED,
                stage.folder,
                have,
                patience or Patience(),
                told or _silent,
            )
        )
        if here and not taken.files:
            return Pulled(here[0], read_origin(registry, here[0]) or {}, unchanged=True)
        version, origin = _let_in(registry, remote, place, taken, stage.folder, name, base)
    with contextlib.suppress(LftregError):  # it is registered, with its origin
        bare = str(replace(place, revision=None))
        registry.note(version, "pull", **{"from": bare}, revision=place.revision, commit=taken.commit)
    return Pulled(version, origin, unchanged=False)


def _let_in(
    registry: Registry, remote: Remote, place: Place, taken: Taken, folder: Path, name: str, base: str | None
) -> tuple[Version, dict[str, Any]]:
    """Judge what was taken, and register it."""
    for file in (WEIGHTS, CONFIG):
        if file not in taken.files:
            raise NotFound(f"{place} has no {file}", "is it a PEFT adapter?", code="no-adapter")
    _check_hashes(taken, folder)
    config = settings_of(folder)
    manifest = None
    if MANIFEST in taken.files:
        manifest = read_manifest((folder / MANIFEST).read_bytes())
        _check_manifest(manifest, taken, folder, config)
    if manifest is None:
        found = base_of(registry, config.get("base_model_name_or_path"), base)
    else:
        found = base_of(registry, manifest.base.id, base, manifest.base.fingerprint)
    origin = {
        "remote": remote.name,
        "host": taken.host,
        "place": place.path,
        "revision": place.revision,
        "commit": taken.commit,
        "url": scrub(taken.url),
        "files": dict(taken.files),
    }
    claims = {
        f"{THEIRS}{file}": (folder / file).read_bytes() for file in (CARD, MANIFEST) if file in taken.files
    }
    version = import_folder(
        registry,
        folder,
        name=name,
        base=found,
        attachments={ORIGIN: (json.dumps(origin, indent=1, sort_keys=True) + "\n").encode(), **claims},
        recipe=None if manifest is None else manifest.recipe,
        domain=None if manifest is None else manifest.domain,
    )
    return version, origin


def _check_hashes(taken: Taken, folder: Path) -> None:
    """What a remote says it brought has to lie there: a plugin is held to it too."""
    for name, sha256 in taken.files.items():
        path = folder / name
        if name not in WANTED or path.is_symlink() or not path.is_file() or _sha256(path) != sha256:
            raise InvalidData(
                f"{PurePosixPath(name).name!r:.80} is not what its remote says it brought",
                "nothing was registered",
                code="remote-answer",
            )


def _check_manifest(manifest: Manifest, taken: Taken, folder: Path, config: Mapping[str, Any]) -> None:
    """Hold the files to what the manifest beside them lists."""
    for name, sha256 in taken.files.items():
        if name == MANIFEST or (name == CARD and manifest.file(name) is None):
            continue
        listed = manifest.file(name)
        if listed is None:
            refuse(f"does not list {name}", "manifest-mismatch")
        if (listed.sha256, listed.size) != (sha256, (folder / name).stat().st_size):
            refuse(f"lists another {name} than the one beside it", "manifest-mismatch")
    if digest_of(taken.files[WEIGHTS], config) != manifest.digest:
        refuse("gives the adapter a digest that its files do not have", "manifest-mismatch")


def _pulled_before(registry: Registry, name: str, place: Place, commit: str) -> list[Version]:
    """Versions of this name that came from this commit of this place."""
    try:
        versions = registry.list(name=name, all_versions=True)
    except NotFound:
        return []
    found = []
    for version in versions:
        origin = read_origin(registry, version) or {}
        if (origin.get("remote"), origin.get("place"), origin.get("commit")) == (
            place.remote,
            place.path,
            commit,
        ):
            found.append(version)
    return found


def _name_of(place: Place) -> str:
    return PurePosixPath(place.path).name.lower()


def _silent(title: str, done: int, total: int) -> None:
    pass


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
