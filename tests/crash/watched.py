"""A process that is killed where we say: after a while, or at its n-th change of a folder. Or it gets no more room.

Changes are system calls: creating, writing, syncing, renaming, removing, locking. The kernel stops the process as it
enters one that concerns the folder (ptrace, with a seccomp filter, so that all other calls cost nothing); the n-th is
where SIGKILL comes, before it is done. Nothing within the process knows of it. Where there is no such kernel only
moments are left.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

# Numbers of the calls by machine, and what each names its file by: a descriptor, a path, or a folder and a path.
CALLS: dict[str, dict[int, tuple[str, str]]] = {
    "x86_64": {
        1: ("write", "fd"), 18: ("pwrite64", "fd"), 20: ("writev", "fd"), 74: ("fsync", "fd"),
        75: ("fdatasync", "fd"), 77: ("ftruncate", "fd"), 285: ("fallocate", "fd"), 91: ("fchmod", "fd"),
        2: ("open", "path"), 82: ("rename", "path"), 83: ("mkdir", "path"), 84: ("rmdir", "path"),
        86: ("link", "path"), 87: ("unlink", "path"), 90: ("chmod", "path"), 73: ("flock", "fd"),
        257: ("openat", "at"), 258: ("mkdirat", "at"), 263: ("unlinkat", "at"), 264: ("renameat", "at"),
        265: ("linkat", "at"), 268: ("fchmodat", "at"), 316: ("renameat2", "at"), 40: ("sendfile", "fd"),
        326: ("copy_file_range", "third"),
    },
    "aarch64": {
        64: ("write", "fd"), 68: ("pwrite64", "fd"), 66: ("writev", "fd"), 82: ("fsync", "fd"),
        83: ("fdatasync", "fd"), 46: ("ftruncate", "fd"), 47: ("fallocate", "fd"), 52: ("fchmod", "fd"),
        32: ("flock", "fd"), 56: ("openat", "at"), 34: ("mkdirat", "at"), 35: ("unlinkat", "at"),
        38: ("renameat", "at"), 37: ("linkat", "at"), 53: ("fchmodat", "at"), 276: ("renameat2", "at"),
        71: ("sendfile", "fd"), 285: ("copy_file_range", "third"),
    },
}  # fmt: skip
OURS = CALLS.get(platform.machine(), {}) if sys.platform == "linux" else {}

KILL = -1
GROWS = {"write", "pwrite64", "writev", "fallocate", "sendfile", "copy_file_range"}
MAKES = {"open", "openat", "mkdir", "mkdirat", "link", "linkat"}
ORIG_RAX, RAX, POKEUSER = 15 * 8, 10 * 8, 6
TRACEME, CONT, SETOPTIONS, GET_SYSCALL_INFO = 0, 7, 0x4200, 0x420E
STOPPED_AT_CALL, WALL = 7, 0x40000000
# New threads and processes are followed, calls of the filter stop, and nobody outlives the one who watches.
OPTIONS = 0x2 | 0x4 | 0x8 | 0x80 | 0x100000
NO_NEW_PRIVILEGES, SECCOMP, FILTER = 38, 22, 2
PATIENCE = 120  # seconds until a process that does not end counts as stuck


class Stuck(Exception):
    """A process did not end."""


@dataclass
class Ended:
    """How a process ended: by itself, with a code, or killed; and which changes it had begun, if they were watched."""

    code: int
    seconds: float
    changes: list[str] = field(default_factory=list)

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


def left_alone(call: Callable[[], int | None]) -> Ended:
    """Run `call` in a fork of this process to its end. Raises Stuck where that does not come."""
    ended = killed_after(PATIENCE, call)
    if ended.seconds > PATIENCE:
        raise Stuck
    return ended


def killed_after(delay: float, call: Callable[[], int | None]) -> Ended:
    """Run `call` in a fork and kill it after so many seconds, if it is still there."""
    end = time.monotonic() + delay
    return killed_once(lambda: time.monotonic() > end, call)


def killed_once(there: Callable[[], bool], call: Callable[[], int | None]) -> Ended:
    """Run `call` in a fork and kill it as soon as something is there."""
    began = time.monotonic()
    child = _fork(call)
    while not there() and os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)
    os.kill(child, signal.SIGKILL)
    return Ended(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), time.monotonic() - began)


def killed_at(number: int | None, folder: Path, call: Callable[[], int | None]) -> Ended:
    """Run `call` in a fork and kill it at its change of that number in `folder`, from 1. None: only tell them all."""
    return watched(folder, call, lambda at, change: KILL if at == number else 0)


def refused_from(number: int, error: int, folder: Path, call: Callable[[], int | None]) -> Ended:
    """Run `call` in a fork, in which from that change on nothing in `folder` takes room: it fails with `error`."""

    def decide(at: int, change: str) -> int:
        name, _, path = change.partition(" ")
        takes = name in GROWS or (name in MAKES and not (folder / path).exists())
        return error if at >= number and takes and "/" in path else 0

    return watched(folder, call, decide)


def watched(folder: Path, call: Callable[[], int | None], decide: Callable[[int, str], int]) -> Ended:
    """Run `call` in a fork; before each change of `folder` it is decided: KILL, an error it fails with, or 0."""
    began, changes = time.monotonic(), list[str]()
    child = _fork(call, watched=True)
    os.waitpid(child, 0)  # it stops itself
    _ptrace(SETOPTIONS, child, OPTIONS)
    _ptrace(CONT, child)
    with _patience(child):
        while True:
            task, status = os.waitpid(-1, WALL)
            if not os.WIFSTOPPED(status):
                if task == child:
                    return Ended(os.waitstatus_to_exitcode(status), time.monotonic() - began, changes)
                continue
            deliver, what = os.WSTOPSIG(status), status >> 16
            if what == STOPPED_AT_CALL and (change := _change(task, folder)) is not None:
                changes.append(change)
                decided = decide(len(changes), change)
                if decided == KILL:
                    os.kill(child, signal.SIGKILL)
                    continue
                if decided:
                    _refuse(task, decided)
            # What stops it for us is not a signal of its own.
            own = not what and deliver not in (signal.SIGSTOP, signal.SIGTRAP)
            _ptrace(CONT, task, deliver if own else 0)


def can_watch() -> bool:
    """Whether this kernel lets us watch a process of our own."""
    if not OURS:
        return False
    try:
        return killed_at(None, Path("/"), lambda: 7).code == 7
    except OSError:
        return False


def can_refuse() -> bool:
    """Whether calls can be made to fail: their registers are known of one kind of machine only."""
    return platform.machine() == "x86_64" and can_watch()


def _fork(call: Callable[[], int | None], *, watched: bool = False) -> int:
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child:
        return child
    try:
        if watched:
            _let_watch()
        code = call()
        sys.stdout.flush()
        os._exit(code or 0)
    except BaseException as error:  # noqa: BLE001 a forked child must end here
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        os._exit(99)


# The kernel's side of it

if OURS:
    _libc = ctypes.CDLL(None, use_errno=True)
    _libc.ptrace.argtypes, _libc.ptrace.restype = [ctypes.c_long] * 3 + [ctypes.c_void_p], ctypes.c_long
    _libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    _info = ctypes.create_string_buffer(128)


def _program() -> ctypes.Array[ctypes.c_char]:
    """A filter in the kernel's own small language: is it one of our calls? Then stop, else go on."""
    one = struct.Struct("=HBBI")
    numbers = sorted(OURS)
    jumps = [one.pack(0x15, len(numbers) - n, 0, number) for n, number in enumerate(numbers)]
    ends = [one.pack(0x06, 0, 0, 0x7FFF0000), one.pack(0x06, 0, 0, 0x7FF00000)]
    return ctypes.create_string_buffer(b"".join([one.pack(0x20, 0, 0, 0), *jumps, *ends]))


def _let_watch() -> None:
    program = _program()
    head = ctypes.create_string_buffer(struct.pack("@HP", len(OURS) + 3, ctypes.addressof(program)))
    _ptrace(TRACEME, 0)
    os.kill(os.getpid(), signal.SIGSTOP)
    if _libc.prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0) or _libc.prctl(
        SECCOMP, FILTER, ctypes.addressof(head), 0, 0
    ):
        raise OSError(ctypes.get_errno(), "this kernel takes no filter")


def _ptrace(request: int, task: int, data: int = 0) -> None:
    if _libc.ptrace(request, task, 0, data) < 0:
        error = ctypes.get_errno()
        if error != 3:  # it is gone: somebody killed it
            raise OSError(error, f"ptrace {request}")


def _refuse(task: int, error: int) -> None:
    """Let a call that is about to begin fail instead (of x86_64: the registers' places are its own)."""
    for place, value in ((ORIG_RAX, -1), (RAX, -error)):
        if _libc.ptrace(POKEUSER, task, place, value) < 0:
            raise OSError(ctypes.get_errno(), "ptrace")


def _change(task: int, folder: Path) -> str | None:
    """What a stopped process is about to change in the folder, or None where that is nothing."""
    got = _libc.ptrace(GET_SYSCALL_INFO, task, len(_info), ctypes.addressof(_info))
    if got < 80:
        return None
    number, *arguments = struct.unpack_from("=7Q", _info.raw, 24)
    name, by = OURS[number]
    try:
        path = _path(task, by, arguments)
    except OSError:
        return None
    if name in ("open", "openat"):
        flags = arguments[1 if name == "open" else 2]
        if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            return None
    if not path.startswith(f"{folder}/"):
        return None
    return f"{name} {path[len(str(folder)) + 1 :]}"


def _path(task: int, by: str, arguments: list[int]) -> str:
    if by in ("fd", "third"):
        return str(Path(f"/proc/{task}/fd/{arguments[2 if by == 'third' else 0]}").readlink())
    folder, place = ("cwd", arguments[0]) if by == "path" else (_folder(arguments[0]), arguments[1])
    with open(f"/proc/{task}/mem", "rb", buffering=0) as memory:  # noqa: PTH123
        memory.seek(place)
        read = memory.read(min(4096, 4096 - place % 4096) or 4096)
        if b"\0" not in read:
            read += memory.read(4096)
    path = os.fsdecode(read.split(b"\0", 1)[0])
    if os.path.isabs(path):  # noqa: PTH117 no need of an object
        return path
    return os.path.normpath(f"{Path(f'/proc/{task}/{folder}').readlink()}/{path}")


def _folder(descriptor: int) -> str:
    here = ctypes.c_int(descriptor & 0xFFFFFFFF).value == -100  # AT_FDCWD
    return "cwd" if here else f"fd/{descriptor}"


@contextmanager
def _patience(child: int) -> Iterator[None]:
    def stuck(_signal: int, _frame: object) -> None:
        os.kill(child, signal.SIGKILL)
        raise Stuck

    before = signal.signal(signal.SIGALRM, stuck)
    signal.alarm(PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
