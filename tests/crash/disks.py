"""Commands on a disk that is full, from any change they make on, and in places that cannot be written."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.crash import checks
from tests.crash.kills import Campaign, Row, Whole
from tests.crash.watched import can_refuse, left_alone, refused_from
from tests.crash.world import Operation, World

DISC = 24 << 20  # bytes
UNTOLD = "cannot-open"  # what SQLite says where it finds no room for the file beside the database: it tells no reason
# Where the first tries are: a checkpoint, what is to be published, and the word that all is done.
FIRST = {"train": (".checkpoint", "tmp/lftreg-", ".outcome")}


def refused(campaign: Campaign, operation: Operation, tries: int) -> list[str]:
    """What is wrong where the disk fills up at some of its changes: an error by name, the old state, and a retry."""
    whole = campaign.measured(operation)
    numbers = list(range(1, len(whole.changes) + 1))
    random.Random(f"{campaign.seed}:{operation.name}").shuffle(numbers)
    always = [
        next(number for number, change in enumerate(whole.changes, start=1) if needle in change)
        for needle in FIRST.get(operation.name, ())
    ]
    problems = []
    for number in always + numbers[: tries - len(always)]:
        world = campaign.scenes[operation.scene].copied(campaign.folder / "attempt")
        call = world.call(*operation.words, "--json")
        ended = refused_from(number, errno.ENOSPC, world.root, call)
        found = [*_wrongly_told(world, ended.code, "disk-full"), *_left(campaign, operation, whole, world)]
        where = f"{operation.name}: full before change {number}, {whole.changes[number - 1]}"
        problems += [f"{where}: {problem}" for problem in found]
    return problems


def on_a_full_disc(campaign: Campaign, operation: Operation) -> list[str]:
    """The same on a real small disc without a free byte. Raises PermissionError where none can be mounted."""
    whole = campaign.measured(operation)
    place = campaign.folder / "disc"
    with mounted(place, "-t", "tmpfs", "-o", f"size={DISC}", "tmpfs"):
        world = campaign.scenes[operation.scene].copied(place / "world")
        stuffing = place / "stuffing"
        _stuff(stuffing)
        # What the command says goes to another disk.
        code = _elsewhere(world, campaign.folder / "told", *operation.words)
        told = World(campaign.folder / "told")
        problems = [*_wrongly_told(told, code, "disk-full", must_fail=True)]
        stuffing.unlink()
        problems += _left(campaign, operation, whole, world)
    return [f"{operation.name} on a full disc: {problem}" for problem in problems]


def read_only(campaign: Campaign, operation: Operation) -> list[str]:
    """What is wrong where the whole world cannot be written. Raises PermissionError where nothing can be mounted."""
    whole = campaign.measured(operation)
    world = campaign.scenes[operation.scene].copied(campaign.folder / "attempt")
    before = checks.tree(world.root)
    place = campaign.folder / "disc"
    with mounted(place, "--bind", "-o", "ro", str(world.root)):
        code = _elsewhere(World(place), campaign.folder / "told", *operation.words)
    told = World(campaign.folder / "told")
    problems = [*_wrongly_told(told, code, "read-only", must_fail=True)]
    if checks.tree(world.root) != before:
        problems.append("something was written")
    problems += _left(campaign, operation, whole, world)
    return [f"{operation.name}, read-only: {problem}" for problem in problems]


def _elsewhere(world: World, told: Path, *words: str) -> int:
    told.mkdir(exist_ok=True)
    return left_alone(world.call(*words, "--json", streams=told)).code


def _wrongly_told(world: World, code: int, wanted: str, *, must_fail: bool = False) -> Iterator[str]:
    said, problem = world.said(stream="err"), None
    try:
        error = json.loads(said[said.rindex('{\n  "error"') :])["error"] if code else None
    except ValueError:
        error = {"code": "none", "message": said[-300:]}
    if error is None:
        problem = "it went well" if must_fail else None
    elif code != 1 or error["code"] not in (wanted, UNTOLD) or not error.get("hint"):
        problem = f"ended with {code}, {error['code']}: {error['message']}"
    elif "outcome.json" in error["message"] or "Traceback" in said:
        problem = f"it told of {error['message']}"
    if problem is not None:
        yield problem


def _left(campaign: Campaign, operation: Operation, whole: Whole, world: World) -> Sequence[str]:
    return list(campaign.judged(operation, whole, world, Row(operation.name)))


def _stuff(path: Path) -> None:
    """Fill a disk to the last byte."""
    with path.open("wb", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue


@contextmanager
def mounted(place: Path, *how: str) -> Iterator[None]:
    """Something mounted for a while. Raises PermissionError."""
    place.mkdir(exist_ok=True)
    if shutil.which("mount") is None:
        raise PermissionError("there is no mount")
    done = subprocess.run(["mount", *how, str(place)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise PermissionError(done.stderr)
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(place)], check=True)


def main(campaign: Campaign, tries: int, names: Sequence[str]) -> None:
    """Prints a JSON object: problems, and what could not be tried here."""
    problems: list[str] = []
    skipped: list[str] = [] if can_refuse() else ["a disk that fills up meanwhile"]
    for operation in campaign.all:
        if operation.name not in names:
            continue
        if not skipped:
            problems += refused(campaign, operation, tries)
        try:
            problems += on_a_full_disc(campaign, operation)
            problems += read_only(campaign, operation)
        except PermissionError:
            skipped.append(f"{operation.name} on a disc of its own")
    print(json.dumps({"problems": problems, "skipped": skipped, "root": os.geteuid() == 0}))
