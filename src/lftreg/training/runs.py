"""Runs on the disk: a folder each in the home, with what was asked for, its checkpoints, and how it ended.

A run holds a lock on its folder while it trains; the system takes it away when the process ends, however
that happens. So a folder without an outcome is running where it is locked and was interrupted where it is not.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from lftreg.errors import LftregError, NotFound, StorageError, UsageError, cannot_write
from lftreg.outputs import whole_output
from lftreg.paths import Home
from lftreg.training.checkpoint import BEFORE, NEWEST, step_of

Status = Literal["running", "interrupted", "failed", "done"]

REQUEST, OUTCOME, LOCK = "run.json", "outcome.json", "lock"
HOLDER = "holder.json"
PATIENCE = 2.0  # seconds
GLANCE = 0.2  # seconds for which another look at the lock may last
# Errors whose reason may be gone when a run is tried again.
PASSING = (
    "storage", "disk-full", "read-only", "busy", "cannot-open", "disk-failed", "out-of-memory", "bug",
)  # fmt: skip
KEPT = 200  # runs that are done, whose records stay; the registry keeps what they made


@dataclass(frozen=True, slots=True)
class Request:
    """What a run was asked for. `source` says where its data comes from, as whoever asked understands it.

    `settings` are resolved; `data_digest` and `fingerprint` are those of the data and the base; `threads`
    are torch's, on which the last bits of a sum depend. `facts` is what was known before the first step.
    """

    name: str
    base: str
    fingerprint: str
    data_digest: str
    settings: Mapping[str, Any]
    libraries: Mapping[str, str]
    threads: int
    trust_code: bool = False
    source: Mapping[str, Any] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)
    started_at: float = field(default_factory=time.time)
    host: str = field(default_factory=socket.gethostname)
    pid: int = field(default_factory=os.getpid)


@dataclass(frozen=True, slots=True)
class RunFolder:
    """One run: its identity is the name of its folder."""

    path: Path

    @property
    def id(self) -> str:
        return self.path.name

    @property
    def request(self) -> Request:
        """Raises NotFound where the folder holds no run."""
        found = _json(self.path / REQUEST)
        if found is None:
            raise NotFound(f"unknown run {self.id!r}", "`lftreg runs` lists them", code="unknown-run")
        known = Request.__dataclass_fields__
        return Request(**{key: value for key, value in found.items() if key in known})

    @property
    def outcome(self) -> dict[str, Any] | None:
        return _json(self.path / OUTCOME)

    @property
    def status(self) -> Status:
        outcome = self.outcome
        if outcome is not None:
            return "done" if "ref" in outcome else "failed"
        return "running" if self._is_locked() else "interrupted"

    @property
    def saved(self) -> bool:
        """Whether there is a checkpoint to go on from."""
        return any((self.path / name).is_file() for name in (NEWEST, BEFORE))

    @property
    def resumable(self) -> bool:
        """Whether it can go on: it was interrupted, or failed for a reason that may be gone."""
        status = self.status
        return status == "interrupted" or (status == "failed" and self.saved)

    @property
    def holder(self) -> Mapping[str, Any]:
        """The process that trains it, or did last: its pid and its host."""
        return _json(self.path / HOLDER) or {}

    @property
    def touched_at(self) -> float:
        """When something last happened to it."""
        places = [self.path / name for name in (REQUEST, OUTCOME, HOLDER, NEWEST)]
        return max((place.stat().st_mtime for place in places if place.exists()), default=0.0)

    @staticmethod
    def _may_go_on(outcome: Mapping[str, Any]) -> bool:
        return "ref" not in outcome and outcome["error"]["code"] in PASSING

    @property
    def step(self) -> int:
        """How many steps are safe in the newest checkpoint; 0 where there is none."""
        for name in (NEWEST, BEFORE):
            found = step_of(self.path / name)
            if found is not None:
                return found
        return 0

    @contextmanager
    def held(self) -> Iterator[None]:
        """Within, the run is this process's. Raises UsageError where it is another's."""
        from filelock import FileLock, Timeout

        lock = FileLock(self.path / LOCK, timeout=PATIENCE)  # somebody may just be looking
        try:
            lock.acquire()
        except Timeout:
            raise _is_running(self) from None
        except OSError as error:
            raise cannot_write(str(self.path), error) from error
        try:
            for leftover in self.path.glob(".*"):  # of a process that was killed while it wrote
                leftover.unlink(missing_ok=True)
            _write(self.path / HOLDER, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            lock.release()

    def close(self, outcome: Mapping[str, Any]) -> None:
        """Say how the run ended. What only a run that goes on needs is removed from one that is done."""
        _write(self.path / OUTCOME, {**outcome, "ended_at": time.time()})
        if not self._may_go_on(outcome):
            for path in self.path.glob("checkpoint*"):
                path.unlink(missing_ok=True)

    def discard(self, before: float) -> bool:
        """Remove it with its checkpoints, unless it is running or something happened to it since. Says whether."""
        touched = self.touched_at  # holding it is a touch
        try:
            with self.held():
                if touched > before:
                    return False
                shutil.rmtree(self.path, ignore_errors=True)
        except (UsageError, StorageError):
            return False
        return not self.path.exists()

    def reopen(self) -> None:
        """A run that failed goes on."""
        (self.path / OUTCOME).unlink(missing_ok=True)

    def _is_locked(self) -> bool:
        from filelock import FileLock, Timeout

        if not (self.path / LOCK).exists():
            return False
        lock = FileLock(
            self.path / LOCK, timeout=GLANCE, poll_interval=GLANCE / 10
        )  # others may be looking too
        try:
            lock.acquire()
        except Timeout:
            return not self._holder_is_gone()
        except OSError:
            return False  # a folder that cannot be written to is nobody's
        lock.release()
        return False

    def _holder_is_gone(self) -> bool:
        """Whether who trained it last has ended, here: then whoever has the lock is only looking."""
        holder = self.holder
        if holder.get("host") != socket.gethostname():
            return False
        try:
            os.kill(int(holder["pid"]), 0)
        except ProcessLookupError:
            return True
        except (PermissionError, KeyError, ValueError):
            return False
        return False


Runs_ = list[RunFolder]  # inside the class `list` is its verb


class Runs:
    """The runs of a home."""

    def __init__(self, home: Home) -> None:
        self._folder = home.runs

    def begin(self, request: Request) -> RunFolder:
        """A folder for a new run, which appears with its request in it. Raises StorageError."""
        moment = time.strftime("%Y%m%d-%H%M%S", time.localtime(request.started_at))
        folder = self._folder / f"{request.name}-{moment}-{secrets.token_hex(2)}"
        try:
            with whole_output(folder) as place:
                place.mkdir()
                _write(place / REQUEST, asdict(request))
        except StorageError as error:
            hint = "free some space, or use another --home; nothing was begun"
            raise StorageError(error.message, hint, code=error.code) from error
        self._prune()
        return RunFolder(folder)

    def list(self) -> list[RunFolder]:
        """Every run, the one that something happened to last first."""
        try:
            paths = [path for path in self._folder.iterdir() if (path / REQUEST).is_file()]
        except FileNotFoundError:
            return []
        return sorted(map(RunFolder, paths), key=lambda run: (run.touched_at, run.id), reverse=True)

    def to_resume(self, name: str | None = None) -> RunFolder:
        """The newest run that can go on: of an adapter's name, or by its own identity, or of all.

        Raises NotFound where there is none, UsageError where it is running.
        """
        runs = [run for run in self.list() if name is None or name in (run.request.name, run.id)]
        ready = [run for run in runs if run.resumable]
        for run in sorted(ready, key=lambda run: run.status != "interrupted"):
            return run
        whose = f"of {name!r} " if name else ""
        running = next((run for run in runs if run.status == "running"), None)
        if running is not None:
            raise _is_running(running)
        raise NotFound(
            f"no run {whose}was interrupted",
            "`lftreg runs` lists them; leave --resume out to begin",
            code="nothing-to-resume",
        )

    def abandoned(self, before: float) -> Runs_:
        """Runs that could go on, and that nothing happened to since `before`, in seconds since 1970."""
        return [run for run in self.list() if run.touched_at <= before and run.resumable]

    def _prune(self) -> None:
        done = [run for run in self.list() if run.status in ("done", "failed") and not run.resumable]
        for run in done[KEPT:]:
            shutil.rmtree(run.path, ignore_errors=True)


def _is_running(run: RunFolder) -> UsageError:
    return UsageError(
        f"run {run.id} is running in another process", "`lftreg runs` shows it", code="run-is-running"
    )


def outcome_of(error: BaseException) -> dict[str, Any] | None:
    """What a run that ended by an error leaves; None where it was stopped and is to go on."""
    if isinstance(error, OSError):
        error = cannot_write(error.filename or "a file", error)
    if isinstance(error, LftregError) and error.code != "interrupted":
        return {"error": {"code": error.code, "message": error.message, "hint": error.hint}}
    if isinstance(error, Exception) and not isinstance(error, LftregError):
        return {"error": {"code": "bug", "message": f"{type(error).__name__}: {error}", "hint": None}}
    return None


def _json(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """A small file that is whole or not there."""
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    scratch.write_text(json.dumps(content, indent=1, default=str) + "\n", encoding="utf-8")
    scratch.replace(path)
