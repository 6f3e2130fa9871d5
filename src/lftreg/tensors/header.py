"""The header of a safetensors file, read under limits and believed only where it adds up."""

from __future__ import annotations

import json
import math
import stat
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from lftreg.errors import InvalidData
from lftreg.tensors.strict import NotStrict, strict_json

LONGEST_HEADER = 16 * 2**20
MOST_READ = (
    100_000_000  # bytes of a header that are looked through, to say what is wrong; safetensors allows no more
)
MOST_TENSORS = 100_000
LARGEST_METADATA = 1_000_000
_TENSOR = b'"data_offsets"'
_PIECE = 1 << 20
_PICKLED = b"\x95}](cK\x8a"  # what follows the version of a pickle: a frame, or the first of its values
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "F8_E4M3": 1, "F8_E5M2": 1,
    "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """Where a tensor lies: bytes `start` to `stop` of the file, row-major, little-endian."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int

    @property
    def count(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True, slots=True)
class Header:
    tensors: Mapping[str, TensorInfo]
    metadata: Mapping[str, str]


def read_header(path: Path) -> Header:
    """Read and check a header. Raises InvalidData for anything that is not a whole safetensors file."""
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        _refuse(path, "is not a regular file", "not-a-file")
    with path.open("rb") as file:

        def read(at: int, many: int) -> bytes:
            file.seek(at)
            return file.read(many)

        length = read_length(read(0, 8), found.st_size, path, read)
        return parse_header(path, read(8, length), found.st_size)


def header_of(content: bytes | bytearray, path: Path) -> Header:
    """The header of a whole file that is in memory; `path` names it in errors. Raises what `read_header` raises."""
    view = memoryview(content)
    length = read_length(bytes(view[:8]), len(content), path, lambda at, many: bytes(view[at : at + many]))
    return parse_header(path, bytes(view[8 : 8 + length]), len(content))


def read_length(
    start: bytes, size: int, path: Path, read: Callable[[int, int], bytes], longest: int = LONGEST_HEADER
) -> int:
    """The length of a header, by the first eight bytes of a file of `size` bytes. No memory is taken for it yet.

    `read(at, many)` gives bytes of the file. Raises InvalidData where the header is too large, or longer than the file.
    """
    if len(start) < 8:
        _refuse(path, "is empty" if not start else "is too short for a safetensors file", "short-file")
    if start[:4] == b"PK\x03\x04" or (start[0] == 0x80 and start[1] < 6 and start[2] in _PICKLED):
        _refuse(
            path, "is a pickle under another name, which can run code when it is opened", "pickle-renamed"
        )
    length = int.from_bytes(start, "little")
    if length > MOST_READ:
        _refuse(path, f"says that its header has {length:,} bytes", "header-size")
    if 8 + length > size:
        _refuse(path, "is no safetensors file: its header is longer than the file", "header-length")
    if length > longest:
        tensors = sum(read(at, _PIECE).count(_TENSOR) for at in range(8, 8 + length, _PIECE))
        _check_count(path, tensors)
        _refuse(path, f"has a header of {length:,} bytes, nearly all of it metadata", "metadata-size")
    return length


def settle_header(path: Path) -> None:
    """Put the metadata of a file into one order: safetensors writes it in any, and equal adapters must be
    equal bytes. Nothing moves, as the header keeps its length.
    """
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(8), "little")
        fields = json.loads(file.read(length))
        fields = {"__metadata__": dict(sorted(fields.pop("__metadata__", {}).items())), **fields}
        settled = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
        file.seek(8)
        file.write(settled.ljust(length))
    read_header(path)  # whatever went wrong is told here, and not when the adapter is used


def parse_header(path: Path, raw: bytes, size: int, metadata_limit: int = LARGEST_METADATA) -> Header:
    """What the bytes of a header say of a file of `size` bytes."""
    _check_count(path, raw.count(_TENSOR))  # before there is an object for each
    try:
        fields = strict_json(raw)
    except NotStrict as error:
        code = "duplicate-tensor" if error.code == "duplicate" else f"header-{error.code}"
        _refuse(path, f"has a header that is not strict JSON: {error}", code)
    if not isinstance(fields, dict):
        _refuse(path, "has a header that is no object", "header-json")
    metadata = fields.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        _refuse(path, "has metadata that is not text by name", "metadata")
    if sum(len(key) + len(value) for key, value in metadata.items()) > metadata_limit:
        _refuse(path, f"has more than {metadata_limit:,} letters of metadata", "metadata-size")
    _check_count(path, len(fields))
    begin = 8 + len(raw)
    # Interned: adapters of one base have the same names and shapes, and there may be hundreds of them.
    tensors = {sys.intern(name): _info(path, name, value, begin) for name, value in fields.items()}
    _check_layout(path, tensors, begin, size)
    return Header(tensors, metadata)


def _check_count(path: Path, tensors: int) -> None:
    if tensors > MOST_TENSORS:
        _refuse(path, f"holds {tensors:,} tensors; at most {MOST_TENSORS:,} come in", "too-many-tensors")


def _check_layout(path: Path, tensors: Mapping[str, TensorInfo], begin: int, size: int) -> None:
    """Every byte of the file belongs to one tensor."""
    at = begin
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if info.start < at:
            _refuse(path, f"has {name!r:.120} lie upon another tensor", "overlap")
        if info.start > at:
            _refuse(path, f"has a hole before {name!r:.120}", "hole")
        at = info.stop
    if at > size:
        _refuse(path, f"is cut short: {size:,} bytes of {at:,}", "cut-short")
    if at < size:
        _refuse(path, f"has {size - at:,} bytes after its last tensor", "trailing-bytes")


def _info(path: Path, name: str, value: Any, begin: int) -> TensorInfo:
    try:
        dtype, shape, (start, stop) = value["dtype"], value["shape"], value["data_offsets"]
        numbers = [*shape, start, stop]
    except (KeyError, TypeError, ValueError):
        _refuse(path, f"describes tensor {name!r:.120} wrongly", "tensor")
    plain = all(type(n) is int and n >= 0 for n in numbers) and isinstance(shape, list)
    if not isinstance(dtype, str) or dtype not in SIZES or not plain or len(shape) > 8 or len(value) != 3:
        _refuse(path, f"describes tensor {name!r:.120} wrongly", "tensor")
    if any(n >= 2**48 for n in numbers):
        _refuse(path, f"gives tensor {name!r:.120} a shape that overflows", "shape-overflow")
    if stop - start != math.prod(shape) * SIZES[dtype]:
        _refuse(path, f"gives tensor {name!r:.120} another size than its shape", "tensor-size")
    return TensorInfo(sys.intern(dtype), _shape(tuple(shape)), begin + start, begin + stop)


@lru_cache(maxsize=4096)
def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


def _refuse(path: Path, what: str, code: str) -> NoReturn:
    raise InvalidData(
        f"{path.name} {what}", "get the file again; it is damaged, or no safetensors file", code=code
    )
