"""`lftreg` in a process that is watched: its memory, its processor time, and by an audit hook all that it touches.

An audit hook hears of every file that is opened, every import, every connection and every process, and cannot be
taken out again by whoever it watches.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import sysconfig
import time
from functools import partial
from pathlib import Path
from typing import Any

import huggingface_hub.constants

from tests import forks

HEARD = {
    "open", "os.listdir", "os.scandir", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink",
    "os.chmod", "os.truncate", "import", "exec", "socket.connect", "socket.bind", "socket.getaddrinfo",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "pickle.find_class", "sqlite3.connect",
    "ctypes.dlopen",
}  # fmt: skip
BY_HANDLE = {"os.listdir", "os.scandir", "os.remove", "os.rmdir", "os.mkdir", "os.chmod"}
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


def run(words: tuple[str, ...], folder: Path, touched: Path | None = None) -> dict[str, Any]:
    """What `lftreg WORDS` leaves: `code`, `error` (the document on stderr), `memory` (bytes more), `seconds` of the
    processor, and `events`. Where `touched` is given, that file changes as soon as it is copied.
    """
    report = folder / "report.json"
    done = forks.finish(partial(_watched, words, report, touched), os.environ)
    told: dict[str, Any] = json.loads(report.read_text()) if report.exists() else {"events": []}
    begin = done.stderr.find('{\n  "error"')
    error = None if begin < 0 else json.JSONDecoder().raw_decode(done.stderr[begin:])[0]["error"]
    return {**told, "code": done.returncode, "error": error, "out": done.stdout, "err": done.stderr}


def strange(events: list[list[Any]], reads: list[Path], writes: list[Path]) -> list[list[Any]]:
    """Of what was heard, whatever touches more than these folders, the libraries and the system's own, or runs data."""
    libraries = [Path(place) for place in {*sysconfig.get_paths().values(), sys.prefix, sys.base_prefix}]
    source = Path(__file__).parents[2]
    token = Path(
        huggingface_hub.constants.HF_TOKEN_PATH
    )  # looked up to take it out of errors, whatever the data is
    allowed = [
        token,
        *reads,
        *writes,
        *libraries,
        source,
        Path("/proc"),
        Path("/dev/null"),
        Path("/dev/urandom"),
    ]
    found = []
    for event, *rest in events:
        if event == "import":
            bad = rest[0].startswith("evil")
        elif (event == "open" and not rest[1]) or event in ("os.listdir", "os.scandir", "exec"):
            bad = not _within(rest[0], allowed)
        elif event == "ctypes.dlopen":
            bad = not _within(rest[0], [*libraries, Path("/lib"), Path("/usr/lib")])
        elif event in ("open", "sqlite3.connect") or (event.startswith("os.") and rest[0].startswith("/")):
            bad = not all(
                _within(path, [*writes, Path("/dev/null")]) for path in rest if isinstance(path, str)
            )
        else:
            bad = True
        if bad:
            found.append([event, *rest])
    return found


def _within(path: str, folders: list[Path]) -> bool:
    place = Path(os.path.normpath(path))
    return any(place == folder or place.is_relative_to(folder) for folder in folders)


def _watched(words: tuple[str, ...], report: Path, touched: Path | None) -> int:
    from lftreg.cli.main import main

    importlib.util.find_spec("nothing")  # reads the folder it is in, once, as finding lftreg did
    events: list[list[Any]] = []
    listening = True

    def hear(event: str, args: tuple[Any, ...]) -> None:
        if listening and event in HEARD:
            _write_down(events, event, args)
            copies = event == "open" and "tmp" in str(args[0]) and str(args[1]).startswith("x")
            if touched is not None and copies and touched.parent not in Path(str(args[0])).parents:
                os.utime(touched, ns=(1, 1))

    sys.argv = ["lftreg", *words]
    Path("/proc/self/clear_refs").write_text("5")  # the highest memory begins anew
    before, started = _memory("VmRSS"), time.process_time()
    sys.addaudithook(hear)
    code = main()
    listening = False
    told = {"memory": _memory("VmHWM") - before, "seconds": time.process_time() - started, "events": events}
    report.write_text(json.dumps(told))
    return code


def _write_down(events: list[list[Any]], event: str, args: tuple[Any, ...]) -> None:
    if event == "exec":
        name = args[0].co_filename
        if not name.startswith("<"):  # a library's own template; data has a file, or is found by what it does
            events.append([event, name])
    elif event == "open":
        if not isinstance(args[0], int):
            flags = args[2] if isinstance(args[2], int) else 0
            events.append([event, _text(args[0]), bool(flags & WRITES)])
    elif event == "import":
        events.append([event, str(args[0])])
    else:
        names = [arg for arg in args if isinstance(arg, str | bytes | os.PathLike)] or [""]
        around = "."
        if (
            event in BY_HANDLE and isinstance(args[-1], int) and args[-1] > 2
        ):  # a folder's, as rmtree gives it
            around = str(Path(f"/proc/self/fd/{args[-1]}").readlink())
        events.append([event, *(_text(name, around) for name in names)])


def _text(path: Any, folder: str = ".") -> str:
    text = os.fsdecode(path)
    return text if text.startswith(("/", ":", "file:")) else str(Path(folder, text).absolute())


def _memory(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) * 1024
