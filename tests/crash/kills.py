"""Kill commands, look at what they leave, let them be typed again, and count.

    python -m tests.crash [OPERATION...] [--kills N]

One process that has loaded everything forks each attempt, which is the real command on a copy of a real home. Of
every operation each change of the folder is a moment to kill at, as far as there are kills for it, and the rest of
them come at random times. `LFTREG_CRASH_SEED=7` draws the same moments again; `LFTREG_CRASH_SEED=7:train:12` is
that change of that operation alone, and `LFTREG_CRASH_SEED=7:train:0.3` so many seconds.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.crash import checks
from tests.crash.checks import State
from tests.crash.watched import can_watch, killed_after, killed_at
from tests.crash.world import Answer, Operation, Scenes, World, import_as, operations, warmly


@dataclass(slots=True)
class Row:
    """What one operation came to."""

    operation: str
    changes: int = 0
    kills: int = 0
    middle: int = 0
    broken: int = 0
    dangling: int = 0
    slowest: float = 0.0
    garbage: int = 0
    problems: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Whole:
    """An operation that nobody disturbs: how long it takes, what it changes, and the states before and after."""

    seconds: float
    changes: list[str]
    before: State
    after: State
    output: dict[str, str]


@dataclass(frozen=True, slots=True)
class Moment:
    """When to kill: at a change, from 1, or after so many seconds."""

    change: int | None
    delay: float = 0.0

    def __str__(self) -> str:
        return f"{self.delay:.4f}" if self.change is None else str(self.change)

    def told(self, whole: Whole) -> str:
        if self.change is None:
            return f"after {self.delay:.4f} of {whole.seconds:.4f} s"
        return f"before change {self.change} of {len(whole.changes)}, {whole.changes[self.change - 1]}"


class Campaign:
    """Kills over operations, in copies of scenes below `folder`."""

    def __init__(self, folder: Path, scenes: Scenes, seed: str, at_changes: float = 0.8) -> None:
        self.folder = folder
        self.at_changes = at_changes  # so much of the kills, where there are so many changes
        self.seed, _, only = seed.partition(":")
        self.only = only.rpartition(":")[::2] if only else None
        self.watches = can_watch()
        self.scenes = scenes
        self.all = operations(scenes.base)
        self._wholes: dict[Operation, Whole] = {}
        bare = World(folder / "bare")
        bare.work.mkdir(parents=True)
        warmly(bare, "list")
        self.collects = (
            bare.lftreg("gc", "--keep-days", "0", "--yes").code != 2
        )  # whether there is such a command

    def run(self, kills: int, names: Collection[str] = ()) -> Iterator[Row]:
        """A row for each operation, or for those of these names; each gets its share of the kills by its weight."""
        chosen = [one for one in self.all if one.name in names or not names]
        if self.only is not None:
            chosen = [one for one in chosen if one.name == self.only[0]]
        left = kills
        for n, operation in enumerate(chosen):
            # A training takes ten times as long as the others, and tests/training kills fifty more.
            share = left * operation.weight / sum(other.weight for other in chosen[n:])
            left -= round(share)
            yield self._kill(operation, round(share))

    def _kill(self, operation: Operation, kills: int) -> Row:
        whole = self.measured(operation)
        row = Row(operation.name, len(whole.changes))
        for moment in self._moments(operation, whole, kills):
            if row.kills >= kills:
                break
            world = self.scenes[operation.scene].copied(self.folder / "attempt")
            call = world.call(*operation.words, "--json")
            if moment.change is not None:
                ended = killed_at(moment.change, world.root, call)
            else:
                ended = killed_after(moment.delay, call)
            if ended.killed:
                row.kills += 1
                row.middle += not _said_all(world)
            elif ended.code:
                row.problems.append(f"ended by itself with {ended.code}: {world.said(stream='err')[:300]}")
            problems = list(self.judged(operation, whole, world, row))
            where = f"LFTREG_CRASH_SEED={self.seed}:{operation.name}:{moment}"
            row.problems += [f"{problem} ({moment.told(whole)}; {where})" for problem in problems]
        return row

    def measured(self, operation: Operation) -> Whole:
        """Run it to its end, once: to see what it changes, and how long it takes where nobody looks."""
        if operation in self._wholes:
            return self._wholes[operation]
        changes, seconds = [], 0.0
        world = self.scenes[operation.scene].copied(self.folder / "whole")
        before = checks.state(world.home)
        if self.watches:
            call = world.call(*operation.words, "--json", TELL_MODULES="yes")
            ended = killed_at(None, world.root, call)
            assert ended.code == 0, f"{operation.name}: {world.said(stream='err')}"
            changes = [change for change in ended.changes if "/" in change or "said" in change]
            import_as(world)
        if not self.watches or self.at_changes < 1:
            world = self.scenes[operation.scene].copied(self.folder / "whole")
            done = world.lftreg(*operation.words, "--json")
            assert done.code == 0, f"{operation.name}: {done.err}"
            seconds = done.seconds
        after, output = checks.state(world.home), checks.tree(world.output)
        return self._wholes.setdefault(operation, Whole(seconds, changes, before, after, output))

    def _moments(self, operation: Operation, whole: Whole, kills: int) -> Iterator[Moment]:
        """Changes first, each once; then times, of which some come too late."""
        if self.only is not None:
            asked = self.only[1]
            yield Moment(None, float(asked)) if "." in asked else Moment(int(asked))
            return
        dice = random.Random(f"{self.seed}:{operation.name}")
        numbers = list(range(1, len(whole.changes) + 1))
        dice.shuffle(numbers)
        yield from map(Moment, numbers[: round(self.at_changes * kills)])
        for _ in range(2 * kills + 20):
            yield Moment(None, dice.random() * whole.seconds)

    def judged(self, operation: Operation, whole: Whole, world: World, row: Row) -> Iterator[str]:
        """What is wrong after a kill, and after what repairs it."""
        from lftreg.paths import Home
        from lftreg.registry import Registry

        began = time.monotonic() - _without_a_core()
        with Registry(Home(world.home)) as registry:
            registry.schema() if operation.scene == "old" else registry.list(all_versions=True)
        row.slowest = max(row.slowest, time.monotonic() - _without_a_core() - began)
        found = checks.state(world.home)
        yield from self._damage(world, row)
        is_after = _same(found, whole.after, operation)
        if not is_after and not _allowed(found, whole, operation):
            yield f"neither the old state nor the new one: {_difference(whole.before, found)}"
        if _said_all(world) and not is_after:
            yield "what it said is not there"
        yield from _wrong_output(whole, world)
        yield from self._goes_on(operation, whole, world, is_after)
        yield from self._damage(world, row)
        yield from self._collected(world, row)

    def _goes_on(self, operation: Operation, whole: Whole, world: World, is_after: bool) -> Iterator[str]:
        """The next command works: the same again, if it was not done; a run that was interrupted goes on."""
        open_runs = operation.trains and self._interrupted(world)
        if open_runs:
            answer = world.lftreg("train", "--resume", "--json")
        elif is_after or (whole.output and world.output.exists()):
            answer = world.lftreg("list", "--json")
        else:
            answer = world.lftreg(*operation.words, "--json")
        if answer.code:
            yield f"the next command failed with {answer.code}: {answer.err[:300]}"
        elif not _same(checks.state(world.home), whole.after, operation):
            yield f"the next command made another state: {_difference(whole.after, checks.state(world.home))}"
        yield from _wrong_output(whole, world)
        if operation.trains and (left := self._interrupted(world)):
            yield f"a run cannot be ended: {left}"

    @staticmethod
    def _interrupted(world: World) -> list[str]:
        from lftreg.paths import Home
        from lftreg.training import Runs

        return [run.id for run in Runs(Home(world.home)).list() if run.status != "done"]

    @staticmethod
    def _damage(world: World, row: Row) -> Iterator[str]:
        from lftreg.paths import Home
        from lftreg.registry import Registry

        found = [*checks.broken(world.home), *checks.wrong_blobs(world.home), *checks.lacking(world.home)]
        if checks.state(world.home)["schema"] not in (
            [],
            [("0003",)],
        ):  # whoever verifies an older one migrates it
            with Registry(Home(world.home)) as registry:
                found += [f"{p.ref}: {p.message}" for p in registry.verify()]
        loose = checks.dangling(world.home)
        row.broken += len(found)
        row.dangling += len(loose)
        yield from found
        yield from (f"alias {name} dangles" for name in loose)

    def _collected(self, world: World, row: Row) -> Iterator[str]:
        """After one gc there is nothing for another, and nothing is lost that is kept."""
        kept = [version for version in checks.state(world.home)["versions"] if version[-1]]
        answers = [world.lftreg("gc", "--keep-days", "0", "--yes", "--json") for _ in range(2)]
        for answer in answers:
            if answer.code:
                yield f"gc failed with {answer.code}: {answer.err[:300]}"
                return
        left = _collected(answers[1])
        row.garbage += bool(left)
        if left:
            yield f"a second gc found {left}"
        if leftovers := sorted(str(p.relative_to(world.home)) for p in _unfinished(world.home)):
            yield f"gc left {leftovers[:3]}"
        if kept != [version for version in checks.state(world.home)["versions"] if version[-1]]:
            yield "gc took a version"
        yield from self._damage(world, row)


def _without_a_core() -> float:
    """Seconds for which this process could have gone on and others had the machine."""
    told = Path("/proc/self/schedstat")
    return int(told.read_text().split()[1]) / 1e9 if told.exists() else 0.0


def _said_all(world: World) -> bool:
    """Whether the command told its result before it was killed."""
    try:
        json.loads(world.said())
    except ValueError:
        return False
    return True


def _same(found: State, wanted: State, operation: Operation) -> bool:
    """Whether two states are one. A home without a registry says what an empty one does."""
    skipped = {"schema"} if operation.scene == "empty" else set()
    return all(found[key] == wanted[key] for key in found if key not in skipped)


def _allowed(found: State, whole: Whole, operation: Operation) -> bool:
    if operation.name == "gc":  # what it took so far is gone; nothing else is
        keys = [key for key in found if key != "log"]
        return all(set(whole.after[key]) <= set(found[key]) <= set(whole.before[key]) for key in keys)
    return _same(found, whole.before, operation)


def _difference(wanted: State, found: State) -> dict[str, tuple[list[object], list[object]]]:
    return {
        key: (
            [x for x in wanted[key] if x not in found[key]],
            [x for x in found[key] if x not in wanted[key]],
        )
        for key in wanted
        if wanted[key] != found[key]
    }


def _wrong_output(whole: Whole, world: World) -> Iterator[str]:
    """What is exported is whole or not there."""
    if world.output.exists() and checks.tree(world.output) != whole.output:
        yield f"half an export: {sorted(checks.tree(world.output))}"


def _unfinished(home: Path) -> Iterator[Path]:
    """What killed processes left: half files, and folders that were to be renamed."""
    yield from (home / "tmp").glob("*")
    yield from (home / "runs").glob(".*")


def _collected(answer: Answer) -> dict[str, object]:
    """What a gc took, as far as it is anything."""
    return {
        key: value for key, value in answer.document.items() if value and key not in ("keep_days", "dry_run")
    }
