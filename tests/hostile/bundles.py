"""Bundles that strangers may send, each spoiled in its own way."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lftreg.registry.content import digest_of
from tests.hostile.inputs import CONFIG, WEIGHTS

NAMES = (WEIGHTS, CONFIG)


@dataclass(slots=True)
class Draft:
    """A bundle in the making: its manifest, and the members of its tar after it, which may differ."""

    manifest: dict[str, Any]
    members: list[tuple[tarfile.TarInfo, bytes]] = field(default_factory=list)
    packed: Callable[[bytes], bytes] = bytes

    def write(self, place: Path) -> Path:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            head = json.dumps(self.manifest).encode()
            for info, content in [member("lftreg.json", head), *self.members]:
                tar.addfile(info, io.BytesIO(content))
        place.write_bytes(self.packed(out.getvalue()))
        return place


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, **more: Any
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type = len(content), kind
    for key, value in more.items():
        setattr(info, key, value)
    return info, content


def listed(name: str, content: bytes, attachment: bool = True) -> dict[str, Any]:
    sha256 = hashlib.sha256(content).hexdigest()
    return {"name": name, "sha256": sha256, "size": len(content), "attachment": attachment}


def draft_of(folder: Path, fingerprint: str, **more: Any) -> Draft:
    """A bundle of the two files of an adapter, whatever is wrong with them."""
    contents = {name: (folder / name).read_bytes() for name in NAMES}
    try:
        digest = digest_of(hashlib.sha256(contents[WEIGHTS]).hexdigest(), json.loads(contents[CONFIG]))
    except (ValueError, RecursionError):
        digest = "0" * 64
    manifest = {
        "format": "lftreg-version", "schema": 1, "lftreg": "0.1.0", "name": "stranger", "version": 1,
        "digest": f"sha256:{digest}", "kind": "trained", "domain": None, "created_at": None,
        "base": {"id": "some-base", "fingerprint": fingerprint, "model_type": "llama", "parameters": 1},
        "files": [listed(name, content, False) for name, content in contents.items()],
        "run": None, "recipe": None, "scores": [], "tags": {},
    }  # fmt: skip
    return Draft(manifest | more, [member(name, content) for name, content in contents.items()])


def added(
    name: str, content: bytes = b"x", kind: bytes = tarfile.REGTYPE, **more: Any
) -> Callable[[Draft], object]:
    return lambda draft: draft.members.append(member(name, content, kind, **more))


def _attached(name: str, content: bytes = b"{}") -> Callable[[Draft], object]:
    def spoil(draft: Draft) -> None:
        draft.manifest["files"].append(listed(name, content))
        draft.members.append(member(name, content))

    return spoil


def _link_then_write(draft: Draft) -> None:
    draft.members.insert(0, member("out", kind=tarfile.SYMTYPE, linkname="/tmp"))
    draft.members.append(member("out/evil", b"x"))


def _bomb(draft: Draft) -> None:
    draft.members.append(member("bomb", bytes(50_000_000)))
    draft.packed = gzip.compress


def _swollen(draft: Draft) -> None:
    info, content = draft.members[1]
    draft.members[1] = member(info.name, content + bytes(10_000_000))


def _million(draft: Draft) -> None:
    draft.members += [member(f"m{number}") for number in range(1000)]
    end, draft.packed = bytes(1024), lambda made: made.rstrip(b"\0") + made[-512 * 1000 :] * 1000 + end


def _listed_million(draft: Draft) -> None:
    one = json.dumps(listed("x", b"x"))
    draft.manifest["files"] += [json.loads(one) | {"name": f"m{number}"} for number in range(20_000)]


def _other_hash(draft: Draft) -> None:
    info, content = draft.members[0]
    draft.members[0] = member(info.name, content[:-1] + bytes([content[-1] ^ 1]))


def _of_other_base(draft: Draft) -> None:
    draft.manifest["base"]["fingerprint"] = "f" * 64


def _composed(ref: str = "a@1", **options: Any) -> Callable[[Draft], object]:
    parent = {"ref": ref, "digest": "sha256:" + "1" * 64, "weight": 1.0}
    return lambda draft: draft.manifest.update(
        recipe={"method": "linear", "options": options, "parents": [parent]}
    )


def _nested(depth: int) -> list[Any]:
    found: list[Any] = []
    for _ in range(depth):
        found = [found]
    return found


BUNDLES: dict[str, tuple[str, Callable[[Draft], object]]] = {
    "31-other-fingerprint": ("other-base", _of_other_base),
    "52-upwards": ("bundle-path", added("../evil")),
    "52-upwards-in-the-manifest": ("file-name", _attached("../evil")),
    "53-absolute": ("bundle-absolute", added("/tmp/evil")),
    "54-link-then-write": ("bundle-link", _link_then_write),
    "54-hard-link": ("bundle-link", added("out", b"", tarfile.LNKTYPE, linkname=WEIGHTS)),
    "54-device": ("bundle-device", added("out", b"", tarfile.CHRTYPE)),
    "54-folder": ("bundle-folder", added("out", b"", tarfile.DIRTYPE)),
    "55-duplicate-member": ("bundle-duplicate", lambda d: d.members.append(d.members[1])),
    "55-duplicate-in-the-manifest": ("file-twice", lambda d: d.manifest["files"].append(d.manifest["files"][0])),
    "56-case": ("bundle-case", added(CONFIG.upper())),
    "56-case-in-the-manifest": ("file-case", _attached(CONFIG.upper())),
    "57-zip-bomb": ("bundle-compressed", _bomb),
    "57-more-than-it-says": ("bundle-size", _swollen),
    "58-a-million-members": ("bundle-unlisted", _million),
    "58-a-million-listed": ("too-many-files", _listed_million),
    "59-setuid": ("bundle-mode", added("evil", mode=0o4755)),
    "60-hash": ("bundle-hash", _other_hash),
    "60-digest": ("bundle-digest", lambda d: d.manifest.update(digest="sha256:" + "0" * 64)),
    "61-unlisted": ("bundle-unlisted", added("evil.txt")),
    "61-lacking": ("bundle-missing", lambda d: d.members.pop()),
    "60-deep-options": ("manifest", _composed(density=_nested(900))),
    "60-nested-options": ("manifest", _composed(density=_nested(2))),
    "60-endless-option": ("manifest", _composed(density="\\" * 300_000)),
    "60-infinite-option": ("manifest-json", _composed(density=float("inf"))),
    "60-option-that-moves-a-cursor": ("manifest", _composed(**{"\x1b[2J": 1})),
    "60-parent-that-moves-a-cursor": ("manifest", _composed("a\x1b[2J@1")),
    "60-many-options": ("manifest", _composed(**{f"o{n}": 1 for n in range(65)})),
    "62-newer-schema": ("newer-manifest", lambda d: d.manifest.update(schema=99, lftreg="9.9.9")),
}  # fmt: skip
