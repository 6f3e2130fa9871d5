"""Bundles as files: plain tar, written so that equal content is equal bytes, and read under limits of our own.

The reader knows one kind of member, a regular file with a plain name, and takes no byte of a member before it was
asked for. `tarfile` follows extensions whose length a stranger chooses, and takes names twice; nothing of it is used
to read.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NoReturn

from lftreg.errors import InvalidData
from lftreg.outputs import whole_output

BLOCK = 512
CHUNK = 2 << 20
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_PACKED = {b"\x1f\x8b": "gzip", b"PK": "zip", b"BZh": "bzip2", b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_KINDS = {
    b"1": ("a hard link", "bundle-link"), b"2": ("a link", "bundle-link"), b"3": ("a device", "bundle-device"),
    b"4": ("a device", "bundle-device"), b"5": ("a folder", "bundle-folder"), b"6": ("a FIFO", "bundle-device"),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Member:
    """A regular file in a tar: its name, and where its `size` bytes begin."""

    name: str
    start: int
    size: int


def write_tar(output: Path, files: Mapping[str, Path | bytes]) -> Path:
    """Write files in their order, of no date and no owner. Raises what `whole_output` raises."""
    with whole_output(output, "file") as place, place.open("xb") as out:
        for name, content in files.items():
            _add(out, name, content)
        out.write(bytes(2 * BLOCK))
    return output


def members(handle: int, size: int) -> Iterator[Member]:
    """The members of an open tar of `size` bytes, one after another. Raises InvalidData with a code for each fault."""
    at = 0
    while True:
        block = os.pread(handle, BLOCK, at)
        if not at:
            _check_packed(block)
        if len(block) < BLOCK:
            refuse("is cut short", "bundle-cut-short")
        if not any(block):
            break
        member = _member(block, at)
        over = member.start + -(-member.size // BLOCK) * BLOCK
        if over > size:
            refuse(f"is cut short within {member.name}", "bundle-cut-short")
        yield member
        at = over
    if size - at > 64 * BLOCK or any(os.pread(handle, size - at, at)):
        refuse("has more after its end", "bundle-trailing")


def read_member(handle: int, member: Member) -> bytes:
    """The bytes of a member, whose size the caller has looked at."""
    return b"".join(_pieces(handle, member))


def copy_member(handle: int, member: Member, target: Path) -> str:
    """Write a member to a new file, and return its sha256."""
    digest = hashlib.sha256()
    with target.open("xb", buffering=0) as out:
        for piece in _pieces(handle, member):
            digest.update(piece)
            out.write(piece)
    return digest.hexdigest()


def refuse(what: str, code: str) -> NoReturn:
    raise InvalidData(
        f"the bundle {what}", "nothing was registered; get the file again from its author", code=code
    )


def _add(out: BinaryIO, name: str, content: Path | bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content) if isinstance(content, bytes) else content.stat().st_size
    info.mode = 0o644
    out.write(info.tobuf(tarfile.GNU_FORMAT))  # which differs from ustar in sizes above 8 GB only
    if isinstance(content, bytes):
        out.write(content)
    else:
        with content.open("rb") as file:
            while piece := file.read(CHUNK):
                out.write(piece)
    out.write(bytes(-info.size % BLOCK))


def _check_packed(block: bytes) -> None:
    for start, word in _PACKED.items():
        if block.startswith(start):
            refuse(f"is compressed ({word}), which lftreg never writes", "bundle-compressed")


def _member(block: bytes, at: int) -> Member:
    kind = block[156:157]
    if _number(block[148:156]) != sum(block) - sum(block[148:156]) + 8 * 32:
        refuse("is no tar, or damaged: a checksum is wrong", "bundle-damaged")
    name = block[:100].split(b"\0")[0].decode("ascii", "replace")
    if kind in _KINDS:
        word, code = _KINDS[kind]
        refuse(f"holds {word}, {name!r:.120}; only files come in", code)
    if kind not in (b"0", b"\0"):
        refuse("holds an extension of tar, which lftreg never writes", "bundle-extension")
    prefix = block[345:500].split(b"\0")[0].decode("ascii", "replace") if block[257:263] == b"ustar\0" else ""
    name = f"{prefix}/{name}" if prefix else name
    _check_name(name)
    if _number(block[100:108]) & 0o7000:
        refuse(f"gives {name} the rights of its owner (setuid)", "bundle-mode")
    return Member(name, at + BLOCK, _number(block[124:136]))


def _check_name(name: str) -> None:
    if name.startswith(("/", "\\")) or name[1:2] == ":":
        refuse(f"holds {name!r:.120}, an absolute path", "bundle-absolute")
    if ".." in re.split(r"[/\\]", name):
        refuse(f"holds {name!r:.120}, which leads out of it", "bundle-path")
    if not _PLAIN.fullmatch(name):
        refuse(f"holds {name!r:.120}, which is no plain file name", "bundle-name")


def _number(field: bytes) -> int:
    """A number of a header: octal digits, or, with the first bit set, bytes."""
    if field[:1] == b"\x80":
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", digits):
        refuse("is damaged: it gives no number where one belongs", "bundle-damaged")
    return int(digits or b"0", 8)


def _pieces(handle: int, member: Member) -> Iterator[bytes]:
    at, left = member.start, member.size
    while left:
        piece = os.pread(handle, min(left, CHUNK), at)
        if not piece:
            refuse(f"was cut short within {member.name} while it was read", "bundle-cut-short")
        yield piece
        at += len(piece)
        left -= len(piece)
