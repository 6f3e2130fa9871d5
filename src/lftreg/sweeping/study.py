"""The trials of a sweep, sampled by Optuna and kept in its storage, which any number of processes may share."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from lftreg.errors import InvalidData, StorageError, Unavailable, UsageError
from lftreg.sweeping.space import Choice, Dimension, Space
from lftreg.sweeping.workers import BEAT_EVERY, HERE, Worker

End = Literal["running", "finished", "stopped", "failed"]
MADE_OF, WINNER, CONFIRMING = "lftreg:made-of", "lftreg:winner", "lftreg:confirming"
WORKER, PERCENT, WHY = "worker", "percent", "why"
CLAIM = 0.5  # seconds in which claims that cross each other are all written


@dataclass(frozen=True, slots=True)
class Row:
    """A trial in the table: its settings, how it ended, its lowest validation loss, and how far it came.

    The loss of one that stopped is the lowest on the rows on which trials are compared.
    """

    number: int
    settings: Mapping[str, Any]
    end: End
    loss: float | None
    percent: int
    why: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def optuna() -> Any:
    """The package, without its chatter. Raises Unavailable where it is not installed."""
    try:
        import optuna
    except ImportError as error:
        raise Unavailable(
            "a sweep needs the optuna package", "pip install 'lftreg[sweep]'", code="no-sweep"
        ) from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


class Study:
    """A study that this process works at."""

    def __init__(self, name: str, storage: str | Path, space: Space, made_of: Mapping[str, Any], seed: int):
        """Open it, or begin it. `made_of` is what all trials have in common; InvalidData where that is another's."""
        self.name, self.space = name, space
        self.worker = Worker()
        HERE.add(self.worker.nonce)
        self._optuna = optuna()
        self._distributions = {
            setting: _distribution(self._optuna, one) for setting, one in space.dimensions.items()
        }
        with _told(storage):
            self._storage = _storage(self._optuna, storage)
            self._study = self._optuna.create_study(
                storage=self._storage,
                study_name=name,
                sampler=_sampler(self._optuna, seed),
                pruner=self._optuna.pruners.NopPruner(),
                direction="minimize",
                load_if_exists=True,
            )
            begun = self._study.user_attrs.get(MADE_OF)
            if begun is None:
                self._study.set_user_attr(MADE_OF, json.loads(json.dumps(made_of)))
        if begun is not None:
            try:
                _check_same(name, begun, json.loads(json.dumps(made_of)))
            except InvalidData:
                self.close()
                raise
        self._open: dict[int, Any] = {}  # trials of this process
        self._confirming = False
        self._beaten = time.monotonic()

    def close(self) -> None:
        """Let go of the database."""
        HERE.discard(self.worker.nonce)
        self._storage.remove_session()
        self._storage.engine.dispose()

    def suggest(self, settings: Mapping[str, Any]) -> None:
        """Have these settings tried first, where nothing was tried yet."""
        if not self._study.get_trials(deepcopy=False):
            self._study.enqueue_trial(dict(settings), skip_if_exists=True)

    def ask(self, most: int, whole: int) -> dict[int, dict[str, Any]]:
        """Settings to try, by their trials' numbers: at most so many, and no more than `whole` in the study."""
        mine: dict[int, dict[str, Any]] = {}
        while len(mine) < most and self.room(whole):
            trial = self._study.ask(self._distributions)
            trial.set_user_attr(WORKER, self.worker.alive().as_dict())
            counted = [one.number for one in self._trials() if not self._is(one, "FAIL", "WAITING")]
            if counted.index(trial.number) >= whole:  # another process was as fast
                self._study.tell(trial, state=self._state("FAIL"))
                break
            self._open[trial.number] = trial
            mine[trial.number] = dict(trial.params)
        return mine

    def room(self, whole: int) -> int:
        """How many trials may begin."""
        return max(0, whole - sum(not self._is(one, "FAIL", "WAITING") for one in self._trials()))

    def report(self, number: int, percent: int, loss: float) -> None:
        """A trial came so far, and that is its lowest loss on the rows on which trials are compared."""
        self._open[number].report(loss, percent)
        self._open[number].set_user_attr(PERCENT, percent)

    def at(self, percent: int, apart: Sequence[int] = ()) -> list[float]:
        """The losses of all trials that came so far, but for some."""
        return [
            one.intermediate_values[percent]
            for one in self._trials()
            if percent in one.intermediate_values and one.number not in apart and not self._is(one, "FAIL")
        ]

    def finish(self, number: int, loss: float, percent: int = 100) -> None:
        trial = self._open.pop(number)
        trial.set_user_attr(PERCENT, percent)
        self._study.tell(trial, loss)

    def prune(self, number: int, why: str) -> None:
        """A trial goes no further. One that never came to a rung is to the sampler as poor as can be, and no failure:
        of those it would learn nothing."""
        trial = self._open.pop(number)
        trial.set_user_attr(WHY, why)
        self._study.tell(trial, state=self._state("PRUNED"))

    def beat(self) -> None:
        """A sign of life, now and then."""
        if time.monotonic() - self._beaten > BEAT_EVERY:
            self._beaten = time.monotonic()
            for trial in self._open.values():
                trial.set_user_attr(WORKER, self.worker.alive().as_dict())
            if self._confirming:
                self._say_confirming()

    def give_back(self) -> int:
        """Have the trials of this process, which ends before them, tried again."""
        given = [number for number in self._open if self._again(number)]
        self._open.clear()
        return len(given)

    def reclaim(self) -> int:
        """Have the trials of processes that were killed tried again; says how many there were."""
        lost = [one for one in self._trials() if self._is(one, "RUNNING") and self._is_lost(one)]
        return sum(self._again(one.number) for one in lost)

    @property
    def others(self) -> int:
        """How many trials are under way in other processes."""
        return sum(self._is(one, "RUNNING") and one.number not in self._open for one in self._trials())

    @property
    def rows(self) -> list[Row]:
        """The table; what was tried again stands there once."""
        return [self._row(one) for one in self._trials() if not self._is(one, "FAIL", "WAITING")]

    @property
    def winner(self) -> dict[str, Any] | None:
        """What was registered: its ref, its digest, and of how many trials it is the best."""
        found: dict[str, Any] | None = self._study.user_attrs.get(WINNER)
        return found

    def settle(self, winner: Mapping[str, Any]) -> None:
        self._study.set_user_attr(WINNER, dict(winner))

    def claim(self) -> bool:
        """Whether this process is the one that confirms: of those who wish to, the last to have said so."""
        claimed = self._study.user_attrs.get(CONFIRMING)
        if claimed and not Worker.from_dict(claimed).is_gone:
            return Worker.from_dict(claimed).is_same(self.worker)
        self._say_confirming()
        time.sleep(CLAIM)
        self._confirming = Worker.from_dict(self._study.user_attrs[CONFIRMING]).is_same(self.worker)
        return self._confirming

    def _say_confirming(self) -> None:
        self._study.set_user_attr(CONFIRMING, self.worker.alive().as_dict())

    def unclaim(self) -> None:
        self._confirming = False
        claimed = self._study.user_attrs.get(CONFIRMING)
        if claimed and Worker.from_dict(claimed).is_same(self.worker):
            self._study.set_user_attr(CONFIRMING, None)

    def _again(self, number: int) -> bool:
        trial = self._study.trials[number]
        try:
            self._study.tell(number, state=self._state("FAIL"))
        except ValueError:  # another process was faster
            return False
        self._study.enqueue_trial(trial.params)
        return True

    def _is_lost(self, trial: Any) -> bool:
        worker = trial.user_attrs.get(WORKER)
        if worker is None:  # it was asked for a moment ago, or its process was killed in this moment
            return time.time() - float(trial.datetime_start.timestamp()) > BEAT_EVERY
        mine: bool = trial.number in self._open
        return not mine and Worker.from_dict(worker).is_gone

    def _row(self, trial: Any) -> Row:
        values = trial.intermediate_values
        loss = trial.value if self._is(trial, "COMPLETE") else values[max(values)] if values else None
        ends: dict[str, End] = {"COMPLETE": "finished", "PRUNED": "stopped", "RUNNING": "running"}
        end = ends.get(trial.state.name, "failed")
        if end == "stopped" and not values:
            end = "failed"
        percent = trial.user_attrs.get(PERCENT, 0)
        return Row(trial.number, dict(trial.params), end, loss, percent, trial.user_attrs.get(WHY))

    def _trials(self) -> list[Any]:
        return sorted(self._study.get_trials(deepcopy=False), key=lambda one: one.number)

    def _state(self, name: str) -> Any:
        return self._optuna.trial.TrialState[name]

    @staticmethod
    def _is(trial: Any, *states: str) -> bool:
        state: str = trial.state.name
        return state in states


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    kinds = optuna.distributions
    if isinstance(dimension, Choice):
        return kinds.CategoricalDistribution(dimension.values)
    if dimension.whole:
        return kinds.IntDistribution(
            int(dimension.low), int(dimension.high), log=dimension.log, step=int(dimension.step or 1)
        )
    return kinds.FloatDistribution(dimension.low, dimension.high, log=dimension.log, step=dimension.step)


def _sampler(optuna: Any, seed: int) -> Any:
    """Optuna's tree of Parzen estimators, which draws by the seed and a trial's number: whichever process asks."""

    class ByNumber(optuna.samplers.BaseSampler):  # type: ignore[misc]
        def __init__(self) -> None:
            self._made: tuple[int, Any] = (-1, None)

        def _of(self, number: int) -> Any:
            if self._made[0] != number:
                self._made = (number, optuna.samplers.TPESampler(seed=(seed * 100_003 + number) % 2**32))
            return self._made[1]

        def infer_relative_search_space(self, study: Any, trial: Any) -> Any:
            return self._of(trial.number).infer_relative_search_space(study, trial)

        def sample_relative(self, study: Any, trial: Any, search_space: Any) -> Any:
            return self._of(trial.number).sample_relative(study, trial, search_space)

        def sample_independent(self, study: Any, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self._of(trial.number).sample_independent(study, trial, param_name, param_distribution)

    return ByNumber()


def _storage(optuna: Any, storage: str | Path) -> Any:
    """Optuna's tables in a database; a file is this machine's, and appears with its folder."""
    if not isinstance(storage, Path):
        # As for the registry, psycopg is what speaks to PostgreSQL.
        for short in ("postgresql://", "postgres://"):
            if storage.startswith(short):
                storage = f"postgresql+psycopg://{storage.removeprefix(short)}"
        return optuna.storages.RDBStorage(storage)
    from filelock import FileLock

    storage.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(storage.with_suffix(".lock")):  # two processes that begin would both make its tables
        return optuna.storages.RDBStorage(
            f"sqlite:///{storage}", engine_kwargs={"connect_args": {"timeout": 60}}
        )


@contextmanager
def _told(storage: str | Path) -> Iterator[None]:
    """What keeps a storage from being opened, in words."""
    from sqlalchemy.exc import ArgumentError, SQLAlchemyError

    try:
        yield
    except (ArgumentError, ImportError) as error:
        raise UsageError(
            f"--storage cannot be used: {str(error).splitlines()[0]}",
            "give the URL of a database, such as postgresql://user@host/name; "
            "pip install 'lftreg[postgres]' for PostgreSQL",
            code="invalid-storage",
        ) from error
    except (SQLAlchemyError, OSError, optuna().exceptions.OptunaError) as error:
        what = str(storage) if isinstance(storage, Path) else "the database of --storage"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise StorageError(
            f"{what} cannot be opened: {reason}", "is it there, and may you write to it?"
        ) from error


def _check_same(name: str, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    for key in now:
        if begun.get(key) != now[key]:
            raise InvalidData(
                f"study {name!r} was begun with another {key.replace('_', ' ')}",
                "repeat its command, or name another study with --study",
                code="another-study",
            )
