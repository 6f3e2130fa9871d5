"""A run told to TensorBoard, Weights & Biases or MLflow, by the trackers of accelerate.

A tracker is asked for before anything is loaded, and started by the first event: only the main process hears of
any. One that fails says so once and is left alone from there on; a run is worth more than its record.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from lftreg.errors import Unavailable, UsageError
from lftreg.paths import Home
from lftreg.training.events import Event, Listener, Stepped, Validated, Warned
from lftreg.training.plan import Plan
from lftreg.training.speed import Speed

# What each needs to be installed: one of these packages.
PACKAGES = {"tensorboard": ("tensorboard", "tensorboardX"), "wandb": ("wandb",), "mlflow": ("mlflow",)}
PROJECT = "lftreg"


def check_trackers(names: Sequence[str]) -> None:
    """Raises Unavailable where a tracker is not installed, UsageError where it is none. Imports none of them."""
    for name in names:
        packages = PACKAGES.get(name)
        if packages is None:
            raise UsageError(f"{name!r} is no tracker", f"one of {', '.join(PACKAGES)}")
        if not any(map(_installed, packages)):
            raise Unavailable(f"{name} is not installed", f"pip install {packages[0]}", code="no-tracker")


def tensorboard_folder(home: Home) -> Path:
    """What `tensorboard --logdir` wants: a folder for each run in it."""
    return home.root / "tensorboard"


def _installed(package: str) -> bool:
    found = importlib.util.find_spec(package)
    return found is not None and found.origin is not None  # a folder `wandb` of earlier records is no package


@contextmanager
def tracking(names: Sequence[str], run: str, plan: Plan, home: Home, listen: Listener) -> Iterator[Listener]:
    """A listener that tells `listen` and the trackers of a run, which are ended as it ends."""
    if not names:
        yield listen
        return
    config = _config(plan)
    tracked = [Tracked(name, partial(_start, name, run, plan, home, config)) for name in dict.fromkeys(names)]
    speed = Speed()

    def tell(event: Event) -> None:
        listen(event)
        if not isinstance(event, Stepped | Validated):
            return
        if isinstance(event, Stepped):
            speed.add(event)
        values = _values(event, speed)
        for one in tracked:
            if warning := one.log(values, event.step):
                listen(Warned(warning))

    try:
        yield tell
    finally:
        for one in tracked:
            if warning := one.finish():
                listen(Warned(warning))


class Tracked:
    """One tracker of a run, made when there is something to tell; what it raises becomes a warning."""

    def __init__(self, name: str, start: Callable[[], Any]) -> None:
        self.name = name
        self._start = start
        self._tracker: Any = None
        self._failed = False

    def log(self, values: Mapping[str, float], step: int) -> str | None:
        def told() -> None:
            if self._tracker is None:
                self._tracker = self._start()
            self._tracker.log(dict(values), step=step)

        return self._try(told)

    def finish(self) -> str | None:
        return self._try(self._tracker.finish) if self._tracker is not None else None

    def _try(self, what: Callable[[], None]) -> str | None:
        if self._failed:
            return None
        try:
            what()
        except Exception as error:  # noqa: BLE001 whatever a service does, the run goes on
            self._failed = True
            return f"{self.name} failed and is not told any more: {type(error).__name__}: {error}"
        return None


def _start(name: str, run: str, plan: Plan, home: Home, config: Mapping[str, Any]) -> Any:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    make = LOGGER_TYPE_TO_CLASS[name]
    if name == "tensorboard":
        folder = tensorboard_folder(home)
        folder.mkdir(parents=True, exist_ok=True)
        tracker = make(run, str(folder))
    elif name == "wandb":
        tracker = make(PROJECT, name=run)
    else:
        tracker = make(PROJECT, run_name=run)
    tracker.start()
    tracker.store_init_configuration(dict(config))
    return tracker


def _config(plan: Plan) -> dict[str, Any]:
    """Settings and what they are about; a setting that is not set has no place in a table of numbers."""
    about = {
        "adapter": plan.name,
        "domain": plan.domain.name,
        "base": plan.base.record.id,
        "task": plan.task.name,
        "rows": plan.examples["train"],
    }
    return about | {name: value for name, value in plan.settings.as_dict().items() if value is not None}


def _values(event: Stepped | Validated, speed: Speed) -> dict[str, float]:
    """What is told of an event, by the names of charts."""
    if isinstance(event, Validated):
        accuracy = {} if event.accuracy is None else {"validation/accuracy": event.accuracy}
        return {"validation/loss": event.loss, **accuracy}
    rate = {} if speed.tokens is None else {"train/tokens_per_second": speed.tokens}
    return {"train/loss": event.loss, "train/lr": event.lr, **rate, "train/memory": event.memory}
