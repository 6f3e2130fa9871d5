"""The process that watches one attempt: `python keeper.py`, with a job (marshal) on its standard input.

It starts `attempt.py` under limits and in a session of its own, counts what descends from it, and kills all of
that in the end: on Linux also what has left the session, since orphans come to the keeper. It prints its verdict,
whether nothing is left, and a detail, a line each. Where its standard input ends before that, whoever wanted to
know is gone, and it ends everything too. Only the standard library is imported, and nothing of lftreg.
"""

from __future__ import annotations

# It starts for each answer, and pathlib, json and shutil take longer to import than most answers take.
# ruff: noqa: PTH116, PTH118, PTH120, PTH123, PTH208
import ctypes
import marshal
import math
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from typing import Any, NoReturn

ATTEMPT = os.path.join(os.path.dirname(__file__), "attempt.py")
INTERVAL = 0.01  # seconds between two looks at the descendants
STARTING = 60.0  # seconds that an interpreter may need to start on a busy machine
ENDING = 10.0  # seconds after which killing is given up
CHUNK = 65536
SPARE_TASKS = 1024  # how many more processes and threads than now the user may have: a second line
SUBREAPER, PARENT_DEATH = 36, 1  # of prctl(2)
NEW_PIDS = 0x20000000  # of unshare(2)
LINUX = sys.platform == "linux"
Verdict = tuple[str, str]


class Keeper:
    """One attempt: its process, the pipes to it, and what it has told so far."""

    def __init__(self, job: dict[str, Any]) -> None:
        self.job = job
        self.secret = os.urandom(16).hex()
        self.deadline = time.monotonic() + STARTING
        self.told, self.written = b"", 0
        self.ready = False
        self.status: int | None = None
        self.pending = _frame(job["code"])
        if LINUX:
            libc = ctypes.CDLL(None)
            self.prctl = libc.prctl
            self.prctl(SUBREAPER, 1, 0, 0, 0)
            if job[
                "apart"
            ]:  # root may: then the attempt sees no other process, and takes all of its own along
                libc.unshare(NEW_PIDS)
        feed, self.feed = os.pipe()
        self.report, report = os.pipe()
        self.output, output = os.pipe()
        for end in (self.feed, self.report, self.output):
            os.set_blocking(end, False)
        self.listening = [self.report, self.output]
        self.child = os.fork()
        if self.child == 0:
            self._become(feed, report, output)
        for end in (feed, report, output):
            os.close(end)

    def _become(self, feed: int, report: int, output: int) -> NoReturn:
        """Turn this process into the attempt. Nothing of the keeper is left in it but the two pipes."""
        try:
            os.setsid()
            if LINUX:
                self.prctl(PARENT_DEATH, signal.SIGKILL, 0, 0, 0)
                self._confine()
            os.chdir(self.job["folder"])
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            for end in (feed, report):
                os.set_inheritable(end, True)
            _limit(self.job)
            # With an environment of our own, -s -P is what -I is, but for the seed of hashes: the same answer
            # shall always do the same.
            flags = ["-P", "-s", "-S", "-B"]
            words = [sys.executable, *flags, ATTEMPT, str(feed), str(report)]
            os.execve(sys.executable, words, _environment(self.job["folder"]))
        finally:
            os._exit(127)

    def _confine(self) -> None:
        """Hold the attempt, and so all that it ever starts, to one core: however fast it forks, who kills is faster.

        Where there is only one core, its processes stand behind the keeper instead.
        """
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[self.job["slot"] % len(cores)]})
        if len(cores) == 1:
            os.nice(19)

    def watch(self) -> Verdict:
        """Wait for a verdict: what the attempt tells, how it ends, or the limit that it crosses."""
        while True:
            writes = [self.feed] if self.pending else []
            able, writable, _ = select.select([0, *self.listening], writes, [], INTERVAL)
            if writable:
                self._give()
            if 0 in able and not os.read(0, CHUNK):
                return "stopped", ""
            self._reap()
            verdict = self._heard() or self._flood() or self._ended() or self._crowd() or self._late()
            if verdict:
                return verdict

    def end(self) -> bool:
        """Kill the attempt and all that descends from it. Whether nothing is left.

        A group is killed at once, so that none of it can fork meanwhile; what has made a session of its own is
        killed as soon as it is found. On Linux no child is left only when no descendant is.
        """
        until = time.monotonic() + ENDING
        while True:
            groups = {os.getpgrp()}
            for pid in self._family():
                with suppress(ProcessLookupError, PermissionError):
                    if (group := os.getpgid(pid)) not in groups:
                        groups.add(group)
                        os.killpg(group, signal.SIGKILL)
                    os.kill(pid, signal.SIGKILL)
                if time.monotonic() > until:
                    return False
            if not self._reap():
                return True
            time.sleep(0.001)

    def _give(self) -> None:
        try:
            self.pending = self.pending[os.write(self.feed, self.pending[:CHUNK]) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self.pending = b""

    def _read(self, end: int) -> bytes:
        """What a pipe holds. One that has ended is listened to no more: it would be ready for ever."""
        with suppress(BlockingIOError):
            if got := os.read(end, CHUNK):
                return got
            if end in self.listening:
                self.listening.remove(end)
        return b""

    def _heard(self) -> Verdict | None:
        """What the attempt tells, line by line. Only the secret says that its tests ran to their end."""
        self.told += self._read(self.report)
        while b"\n" in self.told:
            line, self.told = self.told.split(b"\n", 1)
            word, _, rest = line.decode("utf-8", "replace").partition(" ")
            if word == "started":
                self.deadline = min(self.deadline, time.monotonic() + self.job["seconds"])
            elif word == "ready" and not self.ready:
                self.ready = True
                self.pending += _frame(self.secret) + _frame(self.job["tests"])
            elif word == "done" and self.ready and rest == self.secret:
                return "passed", ""
            elif word == "raised":
                reason, _, detail = rest.partition(" ")
                return reason, detail
        return ("error", "it wrote into the pipe of its report") if len(self.told) > CHUNK else None

    def _flood(self) -> Verdict | None:
        self.written += len(self._read(self.output))
        if self.written > self.job["output"]:
            return "too-much-output", f"it printed more than {self.job['output'] // 1024} KiB"
        return None

    def _ended(self) -> Verdict | None:
        if self.status is None:
            return None
        if os.WIFSIGNALED(self.status):
            number = os.WTERMSIG(self.status)
            if number == signal.SIGXCPU:
                return self._too_slow()
            return "error", f"it was ended by {signal.Signals(number).name}"
        code = os.WEXITSTATUS(self.status)
        return "error", f"it exited with {code} before its tests had run to their end"

    def _crowd(self) -> Verdict | None:
        """Whether there are too many processes, or too much memory in all of them."""
        most = self.job["processes"]
        family = list(islice(self._family(), most + 1))
        if len(family) > most:
            return "too-many-processes", f"it had more than {most} processes at once"
        if len(family) > 1 and sum(map(_memory, family)) > 2 * self.job["memory"]:
            return "out-of-memory", "its processes together took too much memory"
        return None

    def _late(self) -> Verdict | None:
        return self._too_slow() if time.monotonic() > self.deadline else None

    def _too_slow(self) -> Verdict:
        return "timed-out", f"it took more than {self.job['seconds']:g} s"

    def _reap(self) -> bool:
        """Take leave of those that have ended. Whether a child is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.child:
                self.status = status

    def _family(self) -> Iterator[int]:
        if self.status is None:
            yield self.child
        if LINUX:
            yield from (pid for pid in descendants(os.getpid()) if pid != self.child)


def descendants(pid: int) -> Iterator[int]:
    """The processes below `pid`, by /proc: each when its own children are known, so that it may be killed at once."""
    above = [pid]
    seen = {pid}
    while above:
        one = above.pop()
        children = set(_children(one)) - seen
        seen |= children
        above += children
        if one != pid:
            yield one


def _children(pid: int) -> Iterator[int]:
    """A process's children are listed under the thread that forked them."""
    tasks = f"/proc/{pid}/task"
    with suppress(OSError):
        for task in os.listdir(tasks):
            with open(f"{tasks}/{task}/children", "rb", 0) as listed:
                yield from map(int, listed.read().split())


def _memory(pid: int) -> int:
    """The resident memory of a process that is no file's, in bytes; pages that forks share count for each.

    It is read where no lock is needed: for one that forks all the time the keeper would wait, perhaps for ever.
    """
    with suppress(OSError):
        with open(f"/proc/{pid}/statm", "rb", 0) as told:
            _, resident, shared, *_ = told.read().split()
        return (int(resident) - int(shared)) * os.sysconf("SC_PAGE_SIZE")
    return 0


def _limit(job: dict[str, Any]) -> None:
    """The limits of the process itself. One that a system does not know is left out."""
    seconds = math.ceil(job["seconds"]) + 1
    wanted = {
        resource.RLIMIT_CORE: (0, 0),
        resource.RLIMIT_CPU: (seconds, seconds + 1),
        resource.RLIMIT_FSIZE: (job["file"], job["file"]),
        resource.RLIMIT_NOFILE: (64, 64),
        resource.RLIMIT_AS: (job["memory"], job["memory"]),
    }
    if LINUX:
        tasks = _tasks() + SPARE_TASKS
        wanted[resource.RLIMIT_NPROC] = (tasks, tasks)
    for limit, (soft, hard) in wanted.items():
        most = resource.getrlimit(limit)[1]
        if most != resource.RLIM_INFINITY:
            soft, hard = min(soft, most), min(hard, most)
        with suppress(ValueError, OSError):
            resource.setrlimit(limit, (soft, hard))


def _tasks() -> int:
    """How many processes and threads this user has: the limit counts them all, and does not hold root."""
    tasks = 0
    for pid in filter(str.isdecimal, os.listdir("/proc")):
        with suppress(OSError):
            status = os.stat(f"/proc/{pid}/task")
            tasks += status.st_nlink - 2 if status.st_uid == os.getuid() else 0
    return tasks


def _environment(folder: str) -> dict[str, str]:
    """All that the code sees of the environment: no token, no path of ours. The marker of the keeper goes on."""
    return {
        "HOME": folder, "TMPDIR": folder, "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "TZ": "UTC",
        "PYTHONHASHSEED": "0", "PYTHONUTF8": "1", "MALLOC_ARENA_MAX": "1",
        "ATTEMPT": os.environ.get("ATTEMPT", ""),
    }  # fmt: skip


def _frame(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogatepass")
    return len(raw).to_bytes(8, "big") + raw


def main() -> None:
    def leave(number: int, frame: Any) -> NoReturn:
        raise SystemExit(1)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, leave)
    job = marshal.load(sys.stdin.buffer)
    keeper, clean, verdict = None, False, ("stopped", "")
    try:
        keeper = Keeper(job)
        verdict = keeper.watch()
    finally:
        clean = keeper is None or keeper.end()
        if verdict[0] == "stopped":  # else whoever asked removes it
            import shutil

            shutil.rmtree(job["folder"], ignore_errors=True)
    sys.stdout.write(f"{verdict[0]}\n{int(clean)}\n{verdict[1]}\n")


if __name__ == "__main__":
    main()
