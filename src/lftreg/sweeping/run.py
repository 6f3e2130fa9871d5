"""A sweep from its first trial to a registered version."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from lftreg.errors import Interrupted, InvalidData, NotFound, UsageError
from lftreg.plugins.host import Host
from lftreg.plugins.types import Domain
from lftreg.registry import Registry, Version
from lftreg.sweeping import events
from lftreg.sweeping.bench import Bench
from lftreg.sweeping.cohort import Trials, room_for
from lftreg.sweeping.confirm import confirm, register
from lftreg.sweeping.events import Listener
from lftreg.sweeping.halving import comparison
from lftreg.sweeping.plans import Plans
from lftreg.sweeping.space import Space, check_fixed, default_space, make_space, read_space
from lftreg.sweeping.study import Row, Study, optuna
from lftreg.training import Plan, make_plan, memory
from lftreg.training.processes import make_accelerator
from lftreg.training.stopping import Stop, stopping

TRIALS = 32
# The more are compared at their first rung, the fewer go on; but a budget is looked at, and a study safe from Ctrl-C,
# only where all of them have ended.
AT_ONCE = 16
GLANCE = 1.0  # seconds between looks at what other processes do


@dataclass(frozen=True, slots=True)
class Swept:
    """What came of a sweep: the winner, None where it lies in a registry that is not this one; and its study.

    `winner` tells of it by "ref", "digest", "trials" and "confirmed".
    """

    version: Version | None
    study: str
    space: Space
    rows: tuple[Row, ...]
    winner: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much is tried: trials of the study, seconds of this process, trials side by side."""

    trials: int = TRIALS
    budget: float | None = None
    at_once: int = AT_ONCE

    def __post_init__(self) -> None:
        for name, value in (("--trials", self.trials), ("--at-once", self.at_once)):
            if value < 1:
                raise UsageError(f"{name} {value} makes no sense", "give 1 or more")
        if self.budget is not None and not self.budget > 0:
            raise UsageError("a budget of no time makes no sense", "give such as 30m")


def sweep(
    domain: str | Domain,
    *,
    space: Space | Mapping[str, Any] | str | Path | None = None,
    trials: int = TRIALS,
    budget: float | None = None,
    at_once: int = AT_ONCE,
    study: str | None = None,
    storage: str | None = None,
    name: str | None = None,
    base: str = "starter",
    registry: Registry | None = None,
    host: Host | None = None,
    listen: Listener = lambda event: None,
    trust_code: bool = False,
    source: Mapping[str, Any] | None = None,
    price_per_hour: float | None = None,
    **options: Any,
) -> Swept:
    """Search training settings, confirm the best three alone on the test split, and register the winner.

    `space` is a `Space`, a mapping such as {"rank": [4, 8]}, or a TOML file of one; learning rate and rank where it is
    left out. `trials` is how many the study has in the end, `budget` the seconds after which none begins, `at_once`
    how many train side by side where memory allows. `study` names a study to join or to go on with, `storage` is the
    URL of a database that other machines see; a file of the home otherwise. `options` are those of `Settings`, the same
    for all trials. Raises a subclass of LftregError, and Interrupted where Ctrl-C or SIGTERM stopped it: all that
    has ended is kept, and the same call goes on.
    """
    optuna()
    limits = Limits(trials, budget, at_once)
    registry, host = registry or Registry(), host or Host()
    make = partial(
        make_plan,
        domain,
        name=name,
        base=base,
        registry=registry,
        host=host,
        trust_code=trust_code,
        source=source,
    )
    plans = Plans(make, options, host)
    searched = _space(space, plans.first, options)
    _check_splits(plans.first)
    listen(events.Planned(plans.first))
    made_of = _made_of(plans.first, searched, options)
    seed = plans.first.settings.seed
    opened = Study(
        study or _name_of(plans.first, made_of),
        registry.home.studies if storage is None else storage,
        searched,
        made_of,
        seed,
    )
    with closing(opened), memory.told(), _stopping(listen) as stop:
        usual = {setting: getattr(plans.first.settings, setting) for setting in searched.dimensions}
        if all(searched.holds(setting, value) for setting, value in usual.items()):
            opened.suggest(usual)
        return _Sweep(opened, plans, registry, limits, listen, stop, price_per_hour).run()


class _Sweep:
    """One process at work at a study."""

    def __init__(
        self,
        study: Study,
        plans: Plans,
        registry: Registry,
        limits: Limits,
        listen: Listener,
        stop: Stop,
        price_per_hour: float | None,
    ) -> None:
        accelerator = make_accelerator()
        if accelerator.num_processes > 1:
            raise UsageError(
                "a sweep is one process a GPU",
                "start one on each, with one --storage and --study",
                code="launched",
            )
        self.study, self.plans, self.registry, self.limits = study, plans, registry, limits
        self.listen, self.stop, self.price = listen, stop, price_per_hour
        self.bench = Bench(accelerator, stop, self._hear, self._warn)
        self.until = None if limits.budget is None else time.monotonic() + limits.budget
        self._told_time = False
        self._warned: set[str] = set()
        self._side_by_side: int | None = None

    def run(self) -> Swept:
        study = self.study
        try:
            again = study.reclaim()
            done = len(study.rows)
            self.listen(events.Began(study.name, done, max(done, self.limits.trials), again))
            while (end := self._turn()) is None:
                pass
            return end
        except BaseException as error:
            given = study.give_back()
            study.unclaim()
            if isinstance(error, Interrupted):
                raise self._interrupted(given) from None
            raise

    def _turn(self) -> Swept | None:
        """One cohort, one look at the others, or the end."""
        study = self.study
        study.reclaim()
        if not self._is_late() and study.room(self.limits.trials):
            self._cohort()
            return None
        if study.others:
            self._wait(study.others)
            return None
        winner = study.winner
        if winner is not None and winner["trials"] == len(study.rows):
            return self._over(winner)
        if not study.claim():
            self._wait(0)
            return None
        return self._over(self._confirmed())

    def _cohort(self) -> None:
        if self._side_by_side is None:
            self._side_by_side = room_for(self.plans.first, self.limits.at_once)
        settings = self.study.ask(self._side_by_side, self.limits.trials)
        if settings:
            trials = Trials(self.study, self.plans, self.bench, self.listen, self.limits.trials)
            trials.run(settings)

    def _confirmed(self) -> dict[str, Any]:
        confirmed = confirm(self.study, self.plans, self.bench, self.listen)
        version = register(self.study, self.plans, self.bench, confirmed, self.registry, self.price)
        winner = {
            "ref": version.ref,
            "digest": version.digest,
            "trials": len(self.study.rows),
            "confirmed": [one.as_dict() for one in confirmed],
        }
        self.study.settle(winner)
        self.study.unclaim()
        return winner

    def _over(self, winner: Mapping[str, Any]) -> Swept:
        version: Version | None
        try:
            version = self.registry.get(winner["ref"])
        except NotFound:
            version = None
        if version is not None and version.digest != winner["digest"]:
            version = None
        study = self.study
        return Swept(version, study.name, study.space, tuple(study.rows), winner)

    def _is_late(self) -> bool:
        late = self.until is not None and time.monotonic() > self.until
        if late and not self._told_time:
            self._told_time = True
            self.listen(events.OutOfTime(len(self.study.rows), self.limits.trials))
        return late

    def _wait(self, others: int) -> None:
        self.listen(events.Waiting(others))
        end = time.monotonic() + GLANCE
        while time.monotonic() < end and not self.stop:
            time.sleep(GLANCE / 10)
        if self.stop:
            raise Interrupted("stopped")

    def _hear(self) -> None:
        self.study.beat()
        self.listen(events.Stepped())

    def _warn(self, text: str) -> None:
        if text not in self._warned:  # each cohort finds it anew
            self._warned.add(text)
            self.listen(events.Warned(text))

    def _interrupted(self, given: int) -> Interrupted:
        done = sum(row.end != "running" for row in self.study.rows)
        stopped = Interrupted(
            f"stopped with {done} trials of study {self.study.name!r} done"
            + (f"; {given} that were under way begin anew" if given else ""),
            "the same command goes on from there",
        )
        if self.stop.signal is not None:
            stopped.exit_code = 128 + self.stop.signal
        return stopped


def _space(
    given: Space | Mapping[str, Any] | str | Path | None, plan: Plan, options: Mapping[str, Any]
) -> Space:
    if given is None:
        usual = plan.settings.lr if options.get("lr") is None else 1e-3
        assert usual is not None
        return default_space(usual, options)
    if isinstance(given, str | Path):
        given = read_space(Path(given))
    space = given if isinstance(given, Space) else make_space(given)
    check_fixed(space, options)
    return space


def _check_splits(plan: Plan) -> None:
    if not plan.rows["test"].rows:
        raise InvalidData(
            f"{plan.domain.name!r} has no test rows, on which the best are confirmed",
            "give more rows, or train with `lftreg train`",
            code="no-test-rows",
        )


def _made_of(plan: Plan, space: Space, options: Mapping[str, Any]) -> dict[str, Any]:
    """What makes two sweeps the same study."""
    return {
        "base": plan.base.record.fingerprint,
        "data": plan.data_digest,
        "search_space": space.as_dict(),
        "comparison": comparison(),
        "settings": {key: value for key, value in sorted(options.items()) if value is not None},
    }


def _name_of(plan: Plan, made_of: Mapping[str, Any]) -> str:
    told = json.dumps(made_of, sort_keys=True).encode()
    return f"{plan.name}-{hashlib.sha256(told).hexdigest()[:8]}"


@contextmanager
def _stopping(listen: Listener) -> Iterator[Stop]:
    with stopping(lambda number: listen(events.Stopping())) as stop:
        yield stop
