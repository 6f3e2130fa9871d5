"""A version as one `.lftreg` file: `lftreg.json` first, then the files that it lists."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from lftreg.models.shapes import shapes_of
from lftreg.registry import CONFIG, WEIGHTS, Draft, Registry, Version
from lftreg.registry.content import digest_of
from lftreg.remotes.bases import base_of
from lftreg.remotes.folder import register
from lftreg.remotes.leaks import refuse_secrets
from lftreg.remotes.manifest import LARGEST, MANIFEST, THEIRS, Manifest, make_manifest, read_manifest
from lftreg.remotes.tar import Member, copy_member, members, read_member, refuse, write_tar
from lftreg.tensors import admit_file
from lftreg.tensors.private import opened_regular
from lftreg.tensors.rules import LARGEST_CONFIG, check_settings, read_config

LARGEST_BUNDLE = 65 * 2**30


def export_bundle(registry: Registry, version: Version, output: Path) -> list[str]:
    """Write a version to a new file and return the names in it. The same version gives the same bytes.

    Raises UsageError where something is there already, CheckFailed where a stored file has changed, InvalidData where
    something of it holds a token.
    """
    manifest, contents = make_manifest(registry, version)
    files: dict[str, Path | bytes] = {MANIFEST: manifest.to_bytes(), **contents}
    refuse_secrets(files)
    write_tar(output, files)
    return [MANIFEST, *contents]


def import_bundle(
    registry: Registry, path: Path, *, name: str | None = None, base: str | None = None
) -> tuple[Version, bool]:
    """Take in a bundle through the gate. Returns the version, and whether it was here before, under this name.

    `name` is the manifest's where it is left out. `base` is needed where no base of the manifest's fingerprint is
    known here. Raises InvalidData with a code for each fault, and what `base_of` raises.
    """
    if name is not None:
        registry.check_name(name)
    with opened_regular(path, LARGEST_BUNDLE) as (handle, seen):
        found = members(handle, seen.st_size)
        raw = _manifest(handle, found)
        manifest = read_manifest(raw)
        named = base_of(registry, manifest.base.id, base, manifest.base.fingerprint)
        with registry.blobs.staging() as stage:
            contents = _unpack(handle, found, manifest, stage.folder / WEIGHTS)
            settings = read_config(contents.pop(CONFIG), CONFIG)
            check_settings(settings)
            checked = admit_file(stage.folder / WEIGHTS, settings, None, shapes_of(named))
            if digest_of(checked.sha256, settings) != manifest.digest:
                refuse("holds another adapter than its manifest says: the digests differ", "bundle-digest")
            name = name or manifest.name
            known = registry.list(name=name, digest=manifest.digest, all_versions=True, limit=1)
            if known:
                return known[0], True
            theirs = {MANIFEST: raw, **contents}
            draft = Draft(
                name,
                "imported",
                named.record,
                checked.weights,
                checked.config,
                domain=manifest.domain,
                attachments={THEIRS + file: content for file, content in theirs.items()},
                recipe=manifest.recipe,
            )
            return register(registry, stage, checked, draft), False


def _manifest(handle: int, found: Iterator[Member]) -> bytes:
    first = next(found, None)
    if first is None or first.name != MANIFEST:
        refuse(f"does not begin with {MANIFEST}", "bundle-manifest")
    if first.size > LARGEST:
        refuse(f"has a manifest of {first.size:,} bytes; at most {LARGEST:,} come in", "manifest-size")
    return read_member(handle, first)


def _unpack(handle: int, found: Iterator[Member], manifest: Manifest, weights: Path) -> dict[str, bytes]:
    """Every listed file once, in any order, and nothing else: the weights to a file, the others by name."""
    seen = {MANIFEST}
    contents: dict[str, bytes] = {}
    for member in found:
        _check_member(member, manifest, seen)
        seen.add(member.name)
        listed = manifest.file(member.name)
        assert listed is not None
        if member.name == WEIGHTS:
            sha256 = copy_member(handle, member, weights)
        else:
            contents[member.name] = read_member(handle, member)
            sha256 = hashlib.sha256(contents[member.name]).hexdigest()
        if sha256 != listed.sha256:
            refuse(f"holds a {member.name} that is not the one its manifest lists", "bundle-hash")
    lacking = [file.name for file in manifest.files if file.name not in seen]
    if lacking:
        refuse(f"lacks {lacking[0]}, which its manifest lists", "bundle-missing")
    return contents


def _check_member(member: Member, manifest: Manifest, seen: set[str]) -> None:
    if member.name in seen:
        refuse(f"holds {member.name} twice", "bundle-duplicate")
    listed = manifest.file(member.name)
    if listed is None:
        if member.name.casefold() in {name.casefold() for name in [*seen, *(f.name for f in manifest.files)]}:
            refuse(f"holds {member.name}, which differs from another name in its case only", "bundle-case")
        refuse(f"holds {member.name}, which its manifest does not list", "bundle-unlisted")
    if member.size != listed.size or (member.name == CONFIG and member.size > LARGEST_CONFIG):
        refuse(
            f"has {member.size:,} bytes of {member.name}, and its manifest says {listed.size:,}",
            "bundle-size",
        )
