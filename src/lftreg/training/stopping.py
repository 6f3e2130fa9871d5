"""Ctrl-C and SIGTERM as a wish that the loop hears between two steps."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stop:
    """Whether somebody wishes that the run ends, and by which signal."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None


@contextmanager
def stopping(tell: Callable[[int], None] = lambda number: None, patient: bool = False) -> Iterator[Stop]:
    """Within, the first Ctrl-C or SIGTERM is only noted; the second one ends the process as ever.

    `tell` hears of it within the signal's handler. Python lets only the main thread take signals: elsewhere
    nothing changes. With `patient` a second signal is noted too: a launcher hands on the Ctrl-C that its
    children have heard themselves.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}

    def note(number: int, frame: FrameType | None) -> None:
        stop.signal = number
        tell(number)
        if patient:
            return
        for each, handler in before.items():
            signal.signal(each, handler if handler is not None else signal.SIG_DFL)

    for number in SIGNALS:
        if before[number] is not signal.SIG_IGN:  # a background shell's wish to be left alone
            signal.signal(number, note)
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
