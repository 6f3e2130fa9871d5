"""Tensors read and written piece by piece with numpy alone: no torch, and no more memory than a piece.

Files are read by position and never mapped: a mapping counts as memory, and a file that is cut short
under it kills the process.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.errors import CheckFailed, StorageError
from lftreg.tensors.header import SIZES, Header, TensorInfo, read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

NAMES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}  # as torch calls them, as files do
FLOATS = ("F32", "F16", "BF16", "F64")


class Source:
    """A safetensors file to read from. Close it, or use it in a `with`. Threads may read at once.

    With `keep_open=False` it is opened for every read, for those who read from hundreds of files.
    """

    def __init__(self, path: Path, keep_open: bool = True, header: Header | None = None) -> None:
        self.path = path
        self.header = header or read_header(path)  # given where it was read and checked already
        self._handle = self._open() if keep_open else -1

    def _open(self) -> int:
        return os.open(self.path, os.O_RDONLY | getattr(os, "O_BINARY", 0))

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    def info(self, key: str) -> TensorInfo:
        return self.header.tensors[key]

    def read(self, key: str, start: int = 0, stop: int | None = None, out: Floats | None = None) -> Floats:
        """Rows `start` to `stop` of a tensor of floats, as float32, whatever it is kept in.

        A row is what one index of the first axis holds; its shape is kept. `out`, contiguous and of
        that shape, is filled where it is given.
        """
        import numpy as np

        info = self.info(key)
        shape = (len(range(*slice(start, stop).indices(info.shape[0]))), *info.shape[1:])
        made = np.empty(shape, np.float32) if out is None else out
        size = SIZES[info.dtype]
        offset = info.start + start * (info.count // max(1, info.shape[0])) * size
        if info.dtype == "F32":
            self._fill(made.reshape(-1).view(np.uint8), offset)
            return made
        raw = np.empty(made.size * size, np.uint8)
        self._fill(raw, offset)
        to_float32(raw, info.dtype, made.reshape(-1))
        return made

    def raw(self, start: int, stop: int) -> bytearray:
        """Bytes of the file, as they are."""
        made = bytearray(stop - start)
        self._fill(made, start)
        return made

    def _fill(self, buffer: Any, offset: int) -> None:
        try:
            handle = self._handle if self._handle >= 0 else self._open()
            try:
                self._fill_from(handle, memoryview(buffer).cast("B"), offset)
            finally:
                if handle != self._handle:
                    os.close(handle)
        except OSError as error:
            raise StorageError(
                f"{self.path} cannot be read: {error.strerror}", "check the disk and its permissions"
            ) from error

    def _fill_from(self, handle: int, view: memoryview, offset: int) -> None:
        done = 0
        while done < len(view):
            got = os.preadv(handle, [view[done:]], offset + done)
            if not got:
                raise CheckFailed(
                    f"{self.path.name} was cut short while it was read",
                    "`lftreg verify` tells what else is",
                    code="changed-file",
                )
            done += got


def to_float32(raw: NDArray[np.uint8], dtype: str, out: Floats) -> None:
    """Little-endian floats of a file into `out`, of as many float32. All but F64 lose nothing."""
    import numpy as np

    if dtype == "BF16":
        np.left_shift(raw.view(np.uint16), 16, out=out.view(np.uint32), dtype=np.uint32)
    else:
        np.copyto(out, raw.view({"F16": np.float16, "F32": np.float32, "F64": np.float64}[dtype]), "unsafe")


def from_float32(values: Floats, dtype: str) -> NDArray[Any]:
    """float32 rounded to a dtype of a file, ties to even; bfloat16 comes as its bits.

    What is too large becomes an infinity, what is no number stays none.
    """
    import numpy as np

    values = np.ascontiguousarray(values, np.float32)
    if dtype == "F32":
        return values
    if dtype == "F16":
        with np.errstate(over="ignore"):
            return values.astype(np.float16)
    bits = values.view(np.uint32)
    rounded = bits + (0x7FFF + ((bits >> 16) & 1))
    rounded = np.where((bits & 0x7FFFFFFF) > 0x7F800000, bits | 0x400000, rounded)  # a NaN stays one
    return (rounded >> 16).astype(np.uint16)


def header_bytes(
    tensors: Mapping[str, tuple[str, Sequence[int]]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """The beginning of a safetensors file whose tensors follow in the order of `tensors`: dtype and shape."""
    fields: dict[str, Any] = {}
    if metadata:
        fields["__metadata__"] = dict(sorted(metadata.items()))
    at = 0
    for key, (dtype, shape) in tensors.items():
        size = SIZES[dtype]
        for length in shape:
            size *= length
        fields[key] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(fields, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    return len(text).to_bytes(8, "little") + text
