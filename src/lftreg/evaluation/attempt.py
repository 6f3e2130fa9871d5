"""The process that runs a model's code: `python attempt.py FEED REPORT`. The keeper starts it, and nobody else.

It knows the solution first; the tests, and the secret that tells that they ran to their end, come over the pipe
FEED only when the solution has been executed. All that is needed after that is held in local names: the
solution may have changed every module and every builtin. Only the standard library is imported.
"""

from __future__ import annotations

import errno
import os
import sys
import types
from typing import Any, NoReturn

RESERVE = 2**20  # bytes set free when memory is gone, for the report
LONGEST = 300  # characters of a detail: a report must fit a pipe at once


def main(feed: int, report: int) -> NoReturn:
    """Execute the solution and then its tests, tell how it went, and leave without any cleaning up."""
    process, build, run, module_type = os.getpid, compile, exec, types.ModuleType
    write, leave, anything, explain = os.write, os._exit, BaseException, _explain
    read = _Reader(feed).frame
    mine, reserve, tests = process(), bytearray(RESERVE), ""
    write(report, b"started\n")
    try:
        solution = module_type("solution")
        sys.modules["solution"] = solution
        run(build(read(), "<solution>", "exec", 0, True, 0), solution.__dict__)
        if process() != mine:
            leave(0)  # a child that the solution made and did not end
        write(report, b"ready\n")
        secret, tests = read(), read()
        run(build(tests, "<tests>", "exec", 0, True, 0), solution.__dict__)
        if process() == mine:
            write(report, b"done " + secret.encode() + b"\n")
        leave(0)
    except anything as error:
        del reserve
        if process() == mine:
            write(report, explain(error, tests))
        leave(1)


class _Reader:
    """Texts from a pipe, each behind its length in 8 bytes."""

    def __init__(self, feed: int) -> None:
        self.feed = feed
        self.read, self.number, self.length = os.read, int.from_bytes, len

    def frame(self) -> str:
        return self._exactly(self.number(self._exactly(8), "big")).decode("utf-8", "surrogatepass")

    def _exactly(self, size: int) -> bytes:
        got = b""
        while self.length(got) < size:
            more = self.read(self.feed, size - self.length(got))
            if not more:
                raise EOFError
            got += more
        return got


def _explain(
    error: Any,
    tests: str,
    failed: Any = AssertionError,
    full: Any = MemoryError,
    system: Any = OSError,
    large: int = errno.EFBIG,
) -> bytes:
    """`raised REASON DETAIL`, in one line."""
    reason = "error"
    if isinstance(error, failed):
        reason = "failed-assert"
    elif isinstance(error, full) or (isinstance(error, system) and error.errno == errno.ENOMEM):
        reason = "out-of-memory"
    elif isinstance(error, system) and error.errno == large:
        reason = "too-much-output"
    try:
        told = f"{type(error).__name__}: {error}"[:LONGEST].rstrip(": ")
    except BaseException:  # noqa: BLE001 the text of an error is the solution's code too
        told = type(error).__name__[:LONGEST]
    line = _line(error.__traceback__, tests)
    detail = f"{told}, in {line}" if line else told
    return f"raised {reason} {' '.join(detail.split())}\n".encode("utf-8", "backslashreplace")


def _line(trace: Any, tests: str) -> str:
    """The line of the tests at which an error came up."""
    line = ""
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "<tests>":
            line = tests.splitlines()[trace.tb_lineno - 1].strip()[:LONGEST]
        trace = trace.tb_next
    return line


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
