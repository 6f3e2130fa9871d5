"""Who is gone, and who is only slow."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace

from lftreg.sweeping.workers import HERE, SILENT, Worker


def test_a_process_that_has_ended_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert replace(Worker(), pid=ended.pid).is_gone
    assert not replace(Worker(), pid=os.getppid()).is_gone


def test_this_process_knows_its_own() -> None:
    """A number that was another process's before this one had it says nothing."""
    one = Worker()
    assert one.is_gone
    HERE.add(one.nonce)
    assert not one.is_gone
    HERE.discard(one.nonce)


def test_elsewhere_silence_tells() -> None:
    other = replace(Worker(), host="elsewhere", pid=1)
    assert not other.is_gone
    assert replace(other, beat=time.time() - SILENT - 1).is_gone
    assert not replace(other, beat=time.time() - SILENT - 1).alive().is_gone
    assert other.is_same(other.alive()) and not other.is_same(Worker())
    assert Worker.from_dict(other.as_dict()) == other
