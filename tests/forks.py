"""Processes that find the libraries of models and lftreg imported: what that takes is measured elsewhere.

Each is forked from one process that has imported them and done nothing with them, so it is as a shell would have
started it, seconds sooner. test_forks.py holds that no command depends on what was imported before it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from multiprocessing.context import ForkServerContext, ForkServerProcess
from multiprocessing.forkserver import ensure_running
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PATIENCE = 850  # the longest that a test may take, by its own timeout, is 900
OURS = dict(os.environ)
STREAMS = ("stdin", "stdout", "stderr")
Call = Callable[[], int | None]  # what a process does, and its exit code; it has to be found by its name


def lftreg(
    *words: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """What `lftreg WORDS` leaves. Variables that are not given are ours; the folder is that of the tests."""
    return finish(partial(command, words), os.environ if environment is None else environment, folder)


def command(words: tuple[str, ...]) -> int:
    sys.argv = ["lftreg", *words]
    from lftreg.cli.main import main

    return main()


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """What `python -c CODE WORDS` leaves, with the variables and in the folder of the tests."""
    return finish(partial(_script, code, words), os.environ)


def _script(code: str, words: tuple[str, ...]) -> None:
    sys.argv = ["-c", *words]
    exec(compile(code, "-c", "exec"), {"__name__": "__main__"})


def are_told_from_new(environment: Mapping[str, str]) -> bool:
    """Whether a process that is started anew would differ."""
    return bool(changed(environment, OURS))


def changed(environment: Mapping[str, str], before: Mapping[str, str]) -> list[str]:
    """Variables that Python and some libraries read as they start, where they are not as they were."""
    read = [name for name in {*environment, *before} if name.startswith(("PYTHON", "HF_"))]
    return sorted(name for name in read if environment.get(name) != before.get(name))


def finish(
    call: Call, environment: Mapping[str, str], folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Wait for what a process leaves. Raises TimeoutError."""
    with tempfile.TemporaryDirectory() as kept:
        streams = (os.devnull, *(str(Path(kept) / name) for name in STREAMS[1:]))
        process = start(call, environment, folder or Path.cwd(), streams)
        process.join(PATIENCE)
        if process.is_alive():
            process.kill()
            raise TimeoutError(call)
        out, err = (Path(stream).read_text(encoding="utf-8") for stream in streams[1:])
    return subprocess.CompletedProcess([str(call)], process.exitcode or 0, out, err)


class Started:
    """A process that goes on beside its test, which reads what it says; with the names of `subprocess.Popen`.

    What a process does after its `main` (what libraries have registered to be done at its exit) it does not.
    """

    def __init__(self, call: Call, environment: Mapping[str, str], folder: Path | None = None) -> None:
        with tempfile.TemporaryDirectory() as kept:
            pipes = [Path(kept) / name for name in STREAMS[1:]]
            for pipe in pipes:
                os.mkfifo(pipe)
            self._process = start(call, environment, folder or Path.cwd(), (os.devnull, *map(str, pipes)))
            # In the order in which the process opens them: each side waits for the other.
            self.stdout, self.stderr = (pipe.open(encoding="utf-8") for pipe in pipes)
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    def wait(self, timeout: float) -> int:
        """The exit code. Raises TimeoutError."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutError(self.pid)
        return self._process.exitcode

    def communicate(self, timeout: float) -> tuple[str, str]:
        """What has not been read of stdout and of stderr, once it has ended. Raises TimeoutError."""
        with self.stdout, self.stderr, ThreadPoolExecutor(1) as beside:
            err = beside.submit(self.stderr.read)
            out = self.stdout.read()
            self.wait(timeout)
            return out, err.result()


def start(
    call: Call, environment: Mapping[str, str], folder: Path, streams: tuple[str, ...]
) -> ForkServerProcess:
    """A process in `folder` whose three streams are these files, or a terminal of its own."""
    process = _context().Process(target=_child, args=(call, dict(environment), folder, streams))
    process.start()
    return process


@cache
def _context() -> ForkServerContext:
    """The way to fork from a process that has the libraries, which is started here."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.preloaded"])
    with contextlib.chdir(ROOT):  # where it finds that module
        ensure_running()
    return context


def warm_up() -> None:
    """Have the process that is forked from: its libraries read their settings from the environment as it is now."""
    _context()


def _child(call: Call, environment: Mapping[str, str], folder: Path, streams: tuple[str, ...]) -> None:
    os.setsid()  # so that a terminal that is opened is its own
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = environment.get("PYTHONPATH", "").split(os.pathsep)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, (name, stream) in enumerate(zip(STREAMS, streams, strict=True)):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
        os.dup2(os.open(stream, flags, 0o600), number)
        opened: Any = open(number, "w" if number else "r", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, name, opened)
    code = call()
    sys.stdout.flush()
    sys.stderr.flush()
    sys.exit(code)
