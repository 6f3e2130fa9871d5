"""Whether all numbers of a file are numbers: by their bits, piece by piece, without converting any."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lftreg.tensors.header import SIZES, TensorInfo
from lftreg.tensors.rules import refuse

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Bits of infinity. What is as large or larger, with the sign left aside, is an infinity or a NaN.
INFINITY = {"F32": 0x7F800000, "BF16": 0x7F80, "F16": 0x7C00}


class Finite:
    """Looks at pieces of a file in turn. Raises InvalidData for a dtype that factors have not.

    Neighbours of one dtype are looked at together, however many tensors they are.
    """

    def __init__(self, tensors: Mapping[str, TensorInfo], path: Path) -> None:
        self._tensors = tensors
        self._spans: list[tuple[int, int, str]] = []
        for name, info in sorted(tensors.items(), key=lambda item: item[1].start):
            if info.dtype not in INFINITY:
                refuse(f"{name:.120} is of type {info.dtype}; factors are F32, BF16 or F16", "dtype")
            if self._spans and self._spans[-1][1:] == (info.start, info.dtype):
                self._spans[-1] = (self._spans[-1][0], info.stop, info.dtype)
            else:
                self._spans.append((info.start, info.stop, info.dtype))
        self._next = 0

    def end(self, at: int, stop: int) -> int:
        """Where a piece that begins at `at` and should end at `stop` has to end, so that no number is cut in two."""
        for start, over, dtype in self._spans[self._next :]:
            if start >= stop:
                break
            if over > stop:
                return max(stop - (stop - start) % SIZES[dtype], at + 1)
        return stop

    def look(self, piece: memoryview, at: int) -> None:
        """Look at the bytes from `at` on; pieces come in order, each up to an `end`. Raises InvalidData."""
        import numpy as np

        stop = at + len(piece)
        while self._next < len(self._spans):
            start, over, dtype = self._spans[self._next]
            low, high = max(start, at), min(over, stop)
            if low < high:
                size = SIZES[dtype]
                count = (high - low) // size
                bits = np.frombuffer(piece, np.uint32 if size == 4 else np.uint16, count, low - at)
                if _is_broken(bits, dtype):
                    self._tell(bits, dtype, low)
            if over > stop:
                return
            self._next += 1

    def _tell(self, bits: NDArray[np.generic], dtype: str, low: int) -> None:
        """Refuse by the name of the tensor that the first such number is in."""
        import numpy as np

        mask = (0x7FFFFFFF if SIZES[dtype] == 4 else 0x7FFF) & bits.astype(np.uint32)
        first = int(np.argmax(mask >= INFINITY[dtype]))
        place = low + first * SIZES[dtype]
        name = next(n for n, info in self._tensors.items() if info.start <= place < info.stop)
        if int(mask[first]) == INFINITY[dtype]:
            refuse(f"{name:.120} holds an infinity", "infinity")
        refuse(f"{name:.120} holds a NaN, which is no number", "not-a-number")


def _is_broken(bits: NDArray[np.generic], dtype: str) -> bool:
    """The largest positive number is told by the signed view of the bits, the largest negative by the unsigned."""
    import numpy as np

    signed = bits.view(np.int32 if SIZES[dtype] == 4 else np.int16)
    sign = 1 << (8 * SIZES[dtype] - 1)
    return int(signed.max()) >= INFINITY[dtype] or int(bits.max()) >= sign + INFINITY[dtype]
