"""When memory runs out, and how much of it is in use."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lftreg.errors import Unavailable

# torch's allocator on CPUs raises a bare RuntimeError; these are its words on Linux, macOS and Windows.
_WORDS = (
    "can't allocate memory",
    "not enough memory",
    "std::bad_alloc",
    "out of memory",
    "status_alloc_failed",
)


class OutOfMemory(Unavailable):
    code = "out-of-memory"


def ran_out(error: BaseException) -> bool:
    """Whether an exception says that memory ran out: the GPU's or the machine's."""
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error).lower() for words in _WORDS)


@contextmanager
def told() -> Iterator[None]:
    """Memory that runs out where nothing can be tried again, such as while a base is read: in words."""
    try:
        yield
    except Exception as error:
        if not ran_out(error):
            raise
        raise OutOfMemory(
            "memory ran out",
            "--quantize nf4, a smaller base, --batch-size 1 or fewer targets help; `--dry-run` foretells it",
        ) from error


def release(device: Any) -> None:
    """Give back what nobody holds any more."""
    import torch

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def peak(device: Any) -> int:
    """The most bytes in use at once so far: torch's on a GPU, the process's elsewhere; 0 where nobody counts."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    try:
        import resource
    except ImportError:  # Windows
        return 0
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024
