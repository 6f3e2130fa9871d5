"""Run code that a model wrote, with its tests: a process of its own, under limits, for a few seconds.

This is no security sandbox. It holds against accidents: endless loops, full memory, too many processes, floods
of output, exits that look like success. It does not hold against intent: the code runs as the user who asked,
may read what that user may read, write outside its folder, use the network and end other processes. So nothing
runs here unless somebody has asked for it.

On Linux whatever the code has started is found and ended. On macOS a process that leaves its session is not
found, processes are not counted, and memory is not limited. On Windows nothing runs.
"""

from __future__ import annotations

import ast
import marshal
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from lftreg.errors import Unavailable

Reason = Literal[
    "passed", "failed-assert", "error", "timed-out", "out-of-memory", "too-many-processes", "too-much-output",
    "no-code",
]  # fmt: skip
REASONS: tuple[Reason, ...] = get_args(Reason)
KEEPER = Path(__file__).with_name("keeper.py")
SYSTEM: str = sys.platform
SECONDS = 5.0
MEMORY = 512 * 2**20
WORKERS = 4
PATIENCE = 90.0  # seconds more than an attempt may take, for its keeper to start and to clear up
LOOKED = 400  # lines of an answer without a fence, at most, that are taken off its end one by one
_FENCE = re.compile(
    r"^(?P<in>[ \t]*)(?P<mark>`{3,}|~{3,})[ \t]*(?P<tag>[\w+.-]*)[^\n]*\n(?P<code>.*?)(?:^[ \t]*(?P=mark)[ \t]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)
_PYTHON = ("python", "py", "python3")
_OPENS = re.compile(
    r"\s*(@\w|(async\s+)?def\s+\w+\s*\(|class\s+\w+\s*[:(]|import\s+[\w.]+|from\s+[\w.]+\s+import\s)"
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How code did with its tests; `detail` says more about a failure, in a line."""

    reason: Reason
    detail: str = ""

    @property
    def passed(self) -> bool:
        return self.reason == "passed"


def check(
    code: str,
    tests: str,
    *,
    seconds: float = SECONDS,
    memory: int = MEMORY,
    processes: int = 32,
    output: int = 64 * 1024,
    file: int = 16 * 2**20,
) -> Outcome:
    """Execute `code` and then `tests` in one namespace, with the standard library and nothing else.

    Passed are tests that ran to their end. `seconds` are of wall clock, `memory` (of each process, twice that of all
    together), `output` and `file` (of the largest file written) are bytes. See the module for what this does not
    protect from. Raises Unavailable on Windows.
    """
    return _check_all([(code, tests)], 1, None, _Limits(seconds, memory, processes, output, file))[0]


def check_many(
    pairs: Sequence[tuple[str, str]],
    *,
    workers: int | None = None,
    progress: Callable[[int], None] | None = None,
    seconds: float = SECONDS,
    memory: int = MEMORY,
) -> list[Outcome]:
    """`check` for many pairs of code and tests, `workers` at a time; by default one for each core, up to four.

    `progress` hears how many are done. Whatever ends this early, Ctrl-C too, ends all processes first.
    """
    return _check_all(pairs, workers or min(os.cpu_count() or 1, WORKERS), progress, _Limits(seconds, memory))


def code_of(answer: str) -> str:
    """The Python of an answer: its first fenced block of Python, or its first block, or itself without prose.

    A fence that was not closed ends with the answer. Empty where there is nothing that could be code.
    """
    answer = answer.replace("\r\n", "\n")
    blocks = list(_FENCE.finditer(answer))
    for block in [b for b in blocks if b["tag"].lower() in _PYTHON] or blocks:
        return textwrap.dedent(block["code"]).strip("\n")
    return answer.strip("\n") if _parses(answer) else _without_prose(answer.split("\n"))


def unguarded() -> str:
    """What this system cannot limit, as a sentence; empty where all limits hold."""
    if SYSTEM == "linux":
        return ""
    return (
        "on this system memory and processes are not limited, and a process that leaves its session may stay"
    )


@dataclass(frozen=True, slots=True)
class _Limits:
    seconds: float = SECONDS
    memory: int = MEMORY
    processes: int = 32
    output: int = 64 * 1024
    file: int = 16 * 2**20
    apart: bool = True  # with process numbers of its own, where the system lets us


class _Attempt:
    """A keeper at work. It reads the job, and ends with all that it watches when its standard input does."""

    def __init__(self, code: str, tests: str, limits: _Limits, slot: int) -> None:
        self.slot = slot
        self.folder = tempfile.mkdtemp(prefix="attempt-")
        self.marker = f"ATTEMPT={os.urandom(16).hex()}"
        self.deadline = time.monotonic() + limits.seconds + PATIENCE
        self.told = b""
        name, _, value = self.marker.partition("=")
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(KEEPER)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",
            env={"LANG": "C.UTF-8", name: value},
            start_new_session=True,
        )
        job = {"code": code, "tests": tests, "folder": self.folder, "slot": slot}
        job |= {name: getattr(limits, name) for name in limits.__slots__}
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(marshal.dumps(job))
            self.process.stdin.flush()

    def fileno(self) -> int:
        assert self.process.stdout is not None
        return self.process.stdout.fileno()

    def hear(self) -> bool:
        """Read what there is. Whether the keeper has said all."""
        got = os.read(self.fileno(), 65536)
        self.told += got
        return not got

    def close(self) -> Outcome:
        """End what is still running, and give the verdict if there was one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with suppress(BrokenPipeError):
            self.process.stdin.close()
        late = time.monotonic() > self.deadline
        try:
            self.process.wait(0 if late else PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        reason, clean, detail = self._verdict()
        if not clean:
            _sweep(self.marker.encode())
        _remove(self.folder)
        return Outcome(reason, "".join(c if c.isprintable() else " " for c in detail))

    def _verdict(self) -> tuple[Reason, bool, str]:
        """What the keeper said, whether it left nothing, and the detail."""
        reason, *rest = self.told.decode("utf-8", "replace").split("\n", 2)
        for known in REASONS:
            if known == reason and len(rest) == 2:
                return known, rest[0] == "1", rest[1].strip()
        return "error", False, "it ended the process that watched it"


def _check_all(
    pairs: Sequence[tuple[str, str]], workers: int, progress: Callable[[int], None] | None, limits: _Limits
) -> list[Outcome]:
    if SYSTEM == "win32":
        raise Unavailable(
            "code cannot be run under limits on Windows",
            "evaluate on Linux, macOS or in WSL, or leave out --allow-code-execution",
            code="no-code-execution",
        )
    outcomes: dict[int, Outcome] = {
        place: Outcome("no-code", "the answer holds no code")
        for place, (code, _) in enumerate(pairs)
        if not code.strip()
    }
    waiting = [place for place in reversed(range(len(pairs))) if place not in outcomes]
    running: dict[int, _Attempt] = {}
    try:
        while waiting or running:
            while waiting and len(running) < workers:
                place = waiting.pop()
                slot = min(set(range(workers)) - {each.slot for each in running.values()})
                running[place] = _Attempt(*pairs[place], limits, slot)
            for place in _finished(running):
                outcomes[place] = running[place].close()
                del running[place]
                if progress is not None:
                    progress(len(outcomes))
    finally:
        for attempt in running.values():
            attempt.close()
    return [outcomes[place] for place in range(len(pairs))]


def _finished(running: dict[int, _Attempt]) -> list[int]:
    """Wait a moment for keepers to say something. Those that are done, or that should have been long ago."""
    able, _, _ = select.select(list(running.values()), [], [], 0.5)
    now = time.monotonic()
    return [place for place, each in running.items() if (each in able and each.hear()) or now > each.deadline]


def _remove(folder: str) -> None:
    """Remove a folder, also where the code has taken rights away from parts of it."""
    for place, folders, _ in os.walk(folder):
        for path in (Path(place, name) for name in folders):
            with suppress(OSError):
                if not path.is_symlink():
                    path.chmod(0o700)
    shutil.rmtree(folder, ignore_errors=True)


def _sweep(marker: bytes) -> None:
    """End every process that bears the marker: what a keeper left that was killed itself."""
    found = True
    until = time.monotonic() + PATIENCE
    while found and time.monotonic() < until:
        found = False
        for environment in Path("/proc").glob("[0-9]*/environ"):
            with suppress(OSError):
                if marker in environment.read_bytes():
                    found = True
                    os.kill(int(environment.parent.name), signal.SIGKILL)


def _without_prose(lines: Sequence[str]) -> str:
    """From the first line that opens code to the last with which it parses."""
    first = next((place for place, line in enumerate(lines) if _OPENS.match(line)), None)
    if first is None:
        return ""
    code = list(lines[first:])
    for last in range(len(code), max(0, len(code) - LOOKED), -1):
        if _parses(shorter := textwrap.dedent("\n".join(code[:last]))):
            return shorter.strip("\n")
    return "\n".join(code)


def _parses(code: str) -> bool:
    try:
        ast.parse(code)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
