"""`lftreg.json`: what a version says of itself where it leaves this registry, in a bundle or on a Hub.

One module makes and reads it. What is made names no folder, host or user of this machine and has one order, so that
the same version gives the same bytes. What is read is believed in two things only, for both are checked: the sha256 of
every file, and the fingerprint of the base. A recipe is kept, as anybody can compose it again. All else (runs, scores,
tags, attachments) are claims: they are kept as files named `theirs-...` and never as measurements of ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NoReturn

from lftreg import __version__
from lftreg.errors import InvalidData
from lftreg.registry import CONFIG, WEIGHTS, Base, File, Parent, Recipe, Registry, Version
from lftreg.registry.content import config_bytes
from lftreg.registry.documents import digest as said_digest
from lftreg.registry.documents import moment, recipe_of, scores
from lftreg.registry.ref import NAME
from lftreg.remotes.card import SAMPLES
from lftreg.tensors.strict import NotStrict, strict_json

MANIFEST = "lftreg.json"
FORMAT = "lftreg-version"
SCHEMA = 1
THEIRS = "theirs-"  # before the name of whatever somebody else says of a version
LARGEST = 4_000_000  # bytes of a manifest; that of an ordinary version has 3,000
MOST_FILES = 64
MOST_OPTIONS = 64  # of a recipe
LARGEST_FILE = 64 * 2**30  # bytes of weights; an attachment has at most LARGEST_ATTACHMENT
LARGEST_ATTACHMENT = 32 * 2**20
LARGEST_ATTACHMENTS = 64 * 2**20  # all of them together, as they are held in memory
KINDS = ("trained", "composed", "imported")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_FILE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
# A path of this machine within a text: absolute, of somebody's home, of a drive, or upwards.
_PATH = re.compile(r"(?<![\w:/\\.@-])(?:~[\w-]*|\.{1,2}|[A-Za-z]:|file:/)?(?:[/\\]+[^\s/\\'\"]+)+[/\\]?")
_LOGIN = re.compile(r"(?<=://)[^/@\s]*@")
# Of a run's settings: its folder, where its rows lay, what it cost here.
_HOME = ("run", "source", "cost")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a version says of itself. Digests are without `sha256:`, sizes in bytes.

    `run`, `scores` and `tags` are claims of whoever wrote it; their insides are plain JSON and not checked further.
    """

    name: str
    version: int
    digest: str
    kind: str
    domain: str | None
    base: Base
    files: tuple[File, ...]
    run: Mapping[str, Any] | None = None
    recipe: Recipe | None = None
    scores: Sequence[Mapping[str, Any]] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    created_at: str | None = None
    lftreg: str = __version__

    def file(self, name: str) -> File | None:
        return next((file for file in self.files if file.name == name), None)

    def to_bytes(self) -> bytes:
        """The file: sorted, indented JSON, the same for the same version."""
        document = {
            "format": FORMAT,
            "schema": SCHEMA,
            "lftreg": self.lftreg,
            "name": self.name,
            "version": self.version,
            "digest": said_digest(self.digest),
            "kind": self.kind,
            "domain": self.domain,
            "created_at": self.created_at,
            "base": asdict(self.base),
            "files": [asdict(file) for file in self.files],
            "run": self.run,
            "recipe": recipe_of(self.recipe),
            "scores": list(self.scores),
            "tags": dict(self.tags),
        }
        return (json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False) + "\n").encode()


def make_manifest(registry: Registry, version: Version) -> tuple[Manifest, dict[str, Path | bytes]]:
    """The manifest of a version, and the content of every file that it lists, by name, in its order.

    The weights are hashed before they are told of. What others claimed of the version stays here, as do attachments
    that are too large to come in elsewhere. Raises CheckFailed where a stored file is lost or has changed.
    """
    base = public_base(version.base)
    config = registry.config(version) | {"base_model_name_or_path": base.id}
    contents: dict[str, Path | bytes] = {WEIGHTS: registry.weights(version), CONFIG: config_bytes(config)}
    room = LARGEST_ATTACHMENTS
    for file in sorted(version.files, key=lambda file: file.name):
        ours = file.attachment and not file.name.startswith(THEIRS) and _FILE.fullmatch(file.name)
        if ours and file.size <= min(room, LARGEST_ATTACHMENT) and file.name != MANIFEST:
            room -= file.size
            contents[file.name] = _without_paths(registry.read(version, file.name), file.name)
    stored = {file.name: file for file in version.files}
    files = tuple(
        stored[name]
        if isinstance(content, Path)
        else File(name, hashlib.sha256(content).hexdigest(), len(content), name != CONFIG)
        for name, content in contents.items()
    )
    recipe = version.recipe and Recipe(
        version.recipe.method,
        scrubbed(dict(version.recipe.options)),
        tuple(Parent(scrubbed(p.ref), p.digest, p.weight) for p in version.recipe.parents),
        version.recipe.relative_error,
    )
    manifest = Manifest(
        name=version.name,
        version=version.number,
        digest=version.digest,
        kind=version.kind,
        domain=version.domain,
        base=base,
        files=files,
        run=_run(version),
        recipe=recipe,
        scores=scrubbed(scores(registry.scores.newest(digest=version.digest))),
        tags=scrubbed(dict(version.tags)),
        created_at=moment(version.created_at),
    )
    return manifest, contents


def public_base(base: Base) -> Base:
    """A base as others may know it: by its hub id, or by the last part of its folder."""
    return Base(base.fingerprint, scrubbed(base.id), base.model_type, base.parameters)


def scrubbed(value: Any) -> Any:
    """JSON without paths of this machine, of which the last part stays, and without logins in URLs."""
    if isinstance(value, str):
        return _PATH.sub(_last_part, _LOGIN.sub("", value))
    if isinstance(value, Mapping):
        return {scrubbed(str(key)): scrubbed(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(inner) for inner in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None  # no JSON, and no measurement
    return value


def read_manifest(content: bytes) -> Manifest:
    """The manifest in a file of somebody else's. Raises InvalidData, with a code for each fault."""
    if len(content) > LARGEST:
        refuse(f"is larger than {LARGEST:,} bytes", "manifest-size")
    try:
        document = strict_json(content)
    except NotStrict as error:
        refuse(f"is not strict JSON: {error}", "manifest-json")
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        refuse("is no manifest of lftreg", "manifest")
    _check_schema(document)
    try:
        return _read(document)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
        why = f"it has no {error}" if isinstance(error, KeyError) else str(error)
        refuse(f"cannot be understood: {why:.200}", "manifest")


def refuse(what: str, code: str) -> NoReturn:
    raise InvalidData(
        f"{MANIFEST} {what}", "nothing was registered; get the file again from its author", code=code
    )


def _check_schema(document: Mapping[str, Any]) -> None:
    schema = document.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < 1:
        refuse("has no schema", "manifest")
    if schema > SCHEMA:
        by = document.get("lftreg")
        raise InvalidData(
            f"{MANIFEST} has schema {schema}, which lftreg {by!r:.40} wrote; this lftreg reads up to {SCHEMA}",
            "pip install --upgrade lftreg",
            code="newer-manifest",
        )


def _read(document: Mapping[str, Any]) -> Manifest:
    files = document["files"]
    if not isinstance(files, list):
        raise ValueError("files is no list")
    if len(files) > MOST_FILES:
        refuse(f"lists {len(files):,} files; a version has at most {MOST_FILES}", "too-many-files")
    read = tuple(_file(file) for file in files)
    _check_files(read)
    domain = document.get("domain")
    if domain is not None:
        _named(domain, "its domain")
    return Manifest(
        name=_named(document["name"], "its name"),
        version=_whole(document["version"], "its version"),
        digest=_digest(document["digest"]),
        kind=_one_of(document["kind"], KINDS),
        domain=domain,
        base=_base(document["base"]),
        files=read,
        run=_object(document.get("run"), "run") or None,
        recipe=None if document.get("recipe") is None else _recipe(document["recipe"]),
        scores=_objects(document.get("scores") or []),
        tags={str(k): str(v) for k, v in _object(document.get("tags"), "tags").items()},
        created_at=None if document.get("created_at") is None else _text(document["created_at"], "a time"),
        lftreg=_text(document["lftreg"], "lftreg"),
    )


def _check_files(files: Sequence[File]) -> None:
    names = [file.name for file in files]
    folded = [name.casefold() for name in names]
    if len(set(names)) != len(names):
        refuse("lists a file twice", "file-twice")
    if len(set(folded)) != len(folded):
        refuse("lists two files whose names differ in their case only", "file-case")
    together = sum(file.size for file in files if file.attachment)
    if together > LARGEST_ATTACHMENTS:
        refuse(
            f"lists {together:,} bytes of attachments; at most {LARGEST_ATTACHMENTS:,} come in", "file-size"
        )
    kept = {file.name for file in files if not file.attachment}
    if kept != {WEIGHTS, CONFIG}:
        refuse(
            f"lists {', '.join(sorted(kept)) or 'nothing'} where {WEIGHTS} and {CONFIG} belong", "manifest"
        )


def _file(told: Any) -> File:
    name, sha256, size, attachment = told["name"], told["sha256"], told["size"], told["attachment"]
    if not isinstance(name, str) or not _FILE.fullmatch(name) or name == MANIFEST:
        refuse(f"lists {name!r:.120}, which is no plain file name", "file-name")
    if not isinstance(sha256, str) or not _SHA256.fullmatch(sha256):
        raise ValueError(f"{sha256!r:.80} is no sha256")
    if not isinstance(attachment, bool):
        raise ValueError("attachment is neither true nor false")
    largest = LARGEST_FILE if name == WEIGHTS else LARGEST_ATTACHMENT
    if _whole(size, f"the size of {name}") > largest:
        refuse(f"says that {name} has {size} bytes; at most {largest:,} come in", "file-size")
    return File(name, sha256, size, attachment)


def _base(told: Any) -> Base:
    fingerprint = told["fingerprint"]
    if not isinstance(fingerprint, str) or not _SHA256.fullmatch(fingerprint):
        raise ValueError("its base has no fingerprint")
    parameters = _whole(told["parameters"], "the parameters of its base")
    return Base(
        fingerprint, _text(told["id"], "its base"), _text(told["model_type"], "its model_type"), parameters
    )


def _recipe(told: Any) -> Recipe:
    """A recipe. Its error was measured elsewhere and is not taken."""
    options = {
        _text(name, "an option"): _plain(value) for name, value in _object(told["options"], "options").items()
    }
    if len(options) > MOST_OPTIONS:
        raise ValueError("its recipe has more options than any method")
    if options.get("engine", "peft") not in ("peft", "factors"):
        raise ValueError("its recipe names an engine that there is not")
    parents = tuple(
        Parent(_text(one["ref"], "a parent"), _digest(one["digest"]), _weight(one["weight"]))
        for one in told["parents"]
    )
    if not 1 <= len(parents) <= 10_000:
        raise ValueError("its recipe has no parents")
    return Recipe(_named(told["method"], "its method"), options, parents)


def _plain(value: Any, inside: bool = False) -> Any:
    """What an option of a method may be: a number, a word, or a list of such."""
    if isinstance(value, list) and not inside and len(value) <= 10_000:
        return [_plain(one, inside=True) for one in value]
    if value is None or isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    return value if value == "" else _text(value, "an option")


def _weight(value: Any) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value):
        raise ValueError(f"{value!r:.40} is no weight")
    return float(value)


def _digest(value: Any) -> str:
    if not isinstance(value, str) or not _DIGEST.fullmatch(value):
        raise ValueError(f"{value!r:.80} is no digest")
    return value.removeprefix("sha256:")


def _named(value: Any, what: str) -> str:
    if not isinstance(value, str) or not NAME.fullmatch(value):
        raise ValueError(f"{what} is {value!r:.80}")
    return value


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 400 or not value.isprintable():
        raise ValueError(f"{what} is {value!r:.80}")
    return value


def _whole(value: Any, what: str) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < 2**48:
        raise ValueError(f"{what} is {value!r:.40}")
    return value


def _one_of(value: Any, known: Sequence[str]) -> str:
    if value not in known:
        raise ValueError(f"{value!r:.40} is none of {', '.join(known)}")
    return str(value)


def _object(value: Any, what: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise ValueError(f"{what} is no object")
    return value or {}


def _objects(value: Any) -> list[Mapping[str, Any]]:
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("scores is no list of objects")
    return value


def _run(version: Version) -> dict[str, Any] | None:
    run = version.run
    if run is None:
        return None
    told: dict[str, Any] = scrubbed(asdict(run))
    told["settings"] = {key: value for key, value in told["settings"].items() if key not in _HOME}
    return told


def _without_paths(content: bytes, name: str) -> bytes:
    """An attachment, where it is JSON without paths of this machine; pictures, and what was said, as they are."""
    if not name.endswith(".json") or name == SAMPLES:
        return content
    try:
        told = json.loads(content)
    except ValueError:
        return content
    clean = scrubbed(told)
    return content if clean == told else (json.dumps(clean, ensure_ascii=False) + "\n").encode()


def _last_part(found: re.Match[str]) -> str:
    return PurePosixPath(found[0].replace("\\", "/")).name or "."
