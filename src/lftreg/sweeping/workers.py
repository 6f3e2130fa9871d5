"""Whose a trial is: several processes, on several machines, work at one study, and any of them may be killed."""

from __future__ import annotations

import os
import secrets
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

BEAT_EVERY = 20.0  # seconds
HERE: set[str] = set()  # the workers of this very process
SILENT = 600.0  # seconds without a sign of life, after which a worker elsewhere counts as gone


@dataclass(frozen=True, slots=True)
class Worker:
    """A process at work, and when it gave its last sign of life, in seconds since 1970."""

    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)
    nonce: str = field(default_factory=lambda: secrets.token_hex(4))
    beat: float = field(default_factory=time.time)

    @classmethod
    def from_dict(cls, told: Mapping[str, Any]) -> Worker:
        return cls(**told)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    def alive(self) -> Worker:
        """The same with a sign of life of now."""
        return replace(self, beat=time.time())

    def is_same(self, other: Worker) -> bool:
        return (self.host, self.pid, self.nonce) == (other.host, other.pid, other.nonce)

    @property
    def is_gone(self) -> bool:
        """Whether it will not go on: here the system knows, of elsewhere a long silence tells."""
        if self.host == socket.gethostname():
            if self.pid == os.getpid():  # a container that is started again may have the same number
                return self.nonce not in HERE
            try:
                os.kill(self.pid, 0)
            except ProcessLookupError:
                return True
            except OSError:
                pass
        return time.time() - self.beat > SILENT
