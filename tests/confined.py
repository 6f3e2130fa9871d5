"""The real command in a process that may not do what root may, or may use so much and no more."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from subprocess import CompletedProcess

from tests import forks

CAPABILITIES = 0x20080522  # the version of the calls
OVERRIDE = 1 << 1  # root's right to write whatever permissions say


def lftreg(
    *words: str, environment: Mapping[str, str], folder: Path, bound: bool = False, **limits: int
) -> CompletedProcess[str]:
    """What `lftreg WORDS` leaves, `bound` by permissions even as root; limits are named as in `resource`: FSIZE.

    That of AS, bytes of memory, is for what comes on top of the libraries that are there already.
    """
    return forks.finish(partial(_confined, words, bound, limits), environment, folder)


def _confined(words: tuple[str, ...], bound: bool, limits: Mapping[str, int]) -> int:
    if bound and os.geteuid() == 0:
        _give_up_override()
    for name, limit in limits.items():
        most = limit + _mapped() if name == "AS" else limit
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (most, most))
    return forks.command(words)


def _mapped() -> int:
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def _give_up_override() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    header, sets = struct.pack("Ii", CAPABILITIES, 0), ctypes.create_string_buffer(24)
    if libc.capget(header, sets):
        raise OSError(ctypes.get_errno(), "capget")
    both = [word & ~OVERRIDE if at < 3 else word for at, word in enumerate(struct.unpack("6I", sets.raw))]
    if libc.capset(header, struct.pack("6I", *both)):
        raise OSError(ctypes.get_errno(), "capset")
