"""The header of a safetensors file, read under limits and believed only where it adds up."""

from __future__ import annotations

import json
import math
import stat
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from lftreg.errors import InvalidData

LONGEST_HEADER = 16 * 2**20
MOST_TENSORS = 100_000
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
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        _refuse(path, "is not a regular file", "not-a-file")
    size = path.stat().st_size
    with path.open("rb") as file:
        start = file.read(8)
        if len(start) < 8:
            _refuse(path, "is too short for a safetensors file", "short-file")
        length = int.from_bytes(start, "little")
        if length > LONGEST_HEADER or 8 + length > size:
            _refuse(path, "is no safetensors file: its header does not fit", "header-length")
        raw = file.read(length)
    return _parse(path, raw, size)


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


def _parse(path: Path, raw: bytes, size: int) -> Header:
    try:
        fields = json.loads(raw.decode("utf-8"), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        _refuse(path, f"has a header that is not JSON ({error})", "header-json")
    if not isinstance(fields, dict):
        _refuse(path, "has a header that is no object", "header-json")
    metadata = fields.pop("__metadata__", {})
    if len(fields) > MOST_TENSORS:
        _refuse(path, f"holds {len(fields)} tensors", "too-many-tensors")
    begin = 8 + len(raw)
    # Interned: adapters of one base have the same names and shapes, and there may be hundreds of them.
    tensors = {sys.intern(name): _info(path, name, value, begin) for name, value in fields.items()}
    at = begin
    for name, info in sorted(tensors.items(), key=lambda item: (item[1].start, item[1].stop)):
        if info.start != at:
            _refuse(path, f"has a hole or an overlap before {name!r}", "layout")
        at = info.stop
    if at != size:
        _refuse(path, "ends elsewhere than its header says: it is cut short or has more in it", "layout")
    return Header(tensors, metadata if isinstance(metadata, dict) else {})


def _info(path: Path, name: str, value: Any, begin: int) -> TensorInfo:
    try:
        dtype, shape, (start, stop) = value["dtype"], value["shape"], value["data_offsets"]
        whole = all(isinstance(n, int) and 0 <= n < 2**48 for n in [*shape, start, stop])
    except (KeyError, TypeError, ValueError):
        _refuse(path, f"describes tensor {name!r} wrongly", "tensor")
    if dtype not in SIZES or not whole or len(shape) > 8:
        _refuse(path, f"describes tensor {name!r} wrongly", "tensor")
    if stop - start != math.prod(shape) * SIZES[dtype]:
        _refuse(path, f"gives tensor {name!r} another size than its shape", "tensor")
    return TensorInfo(sys.intern(dtype), _shape(tuple(shape)), begin + start, begin + stop)


@lru_cache(maxsize=4096)
def _shape(shape: tuple[int, ...]) -> tuple[int, ...]:
    return shape


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("a name stands twice")
    return fields


def _refuse(path: Path, what: str, code: str) -> NoReturn:
    raise InvalidData(
        f"{path.name} {what}", "get the file again; it is damaged, or no safetensors file", code=code
    )
