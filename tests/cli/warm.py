"""The real command in processes that find the libraries of models imported, also at a terminal."""

from __future__ import annotations

import fcntl
import os
import struct
import termios
import threading
from collections.abc import Mapping
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from pexpect.fdpexpect import fdspawn

from tests import forks
from tests.cli.conftest import Done, Lftreg

PATIENCE = 120


def warm(environment: Mapping[str, str], folder: Path) -> Lftreg:
    """A way to run `lftreg` like the fixture of that name, in `folder`."""

    def run(*words: str, code: int | None = 0, **variables: str) -> Done:
        done = forks.lftreg(*words, environment={**environment, **variables}, folder=folder)
        assert code is None or done.returncode == code, done.stderr or done.stdout
        return Done(done.returncode, done.stdout, done.stderr)

    return run


class Terminal(fdspawn):  # type: ignore[misc]
    """`lftreg` at a terminal of its own, to be talked to as pexpect does."""

    def __init__(
        self, words: tuple[str, ...], environment: Mapping[str, str], folder: Path, columns: int = 80
    ) -> None:
        ours, theirs = os.openpty()
        fcntl.ioctl(ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        streams = (os.ttyname(theirs),) * 3
        self.process = forks.start(partial(forks.command, words), environment, folder, streams)
        # Open until it has ended: before it opens its side, the terminal would look closed.
        threading.Thread(target=_closed_after, args=(self.process, theirs), daemon=True).start()
        super().__init__(ours, timeout=PATIENCE, encoding="utf-8")

    def ended(self) -> int | None:
        """The exit code, once everything was read."""
        self.process.join(PATIENCE)
        self.close()
        return self.process.exitcode


def _closed_after(process: ForkServerProcess, theirs: int) -> None:
    wait([process.sentinel])
    os.close(theirs)
