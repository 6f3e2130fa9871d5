"""A run told to trackers: the real TensorBoard, and one that fails."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any, ClassVar

import pytest

from lftreg.errors import Unavailable, UsageError
from lftreg.registry import Registry
from lftreg.training import Event, Stepped, Validated, Warned, make_plan, run_plan, trackers, train
from tests.training.test_resume import OPTIONS, lessons


def go(registry: Registry, base: Path, *log_to: str) -> tuple[Any, list[Event]]:
    heard: list[Event] = []
    plan = make_plan(lessons(), name=None, base=str(base), registry=registry, **OPTIONS)
    return run_plan(plan, registry, heard.append, log_to=log_to), heard


@pytest.mark.slow
def test_tensorboard_holds_every_figure(registry: Registry, tiny_llama: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    version, heard = go(registry, tiny_llama, "tensorboard", "tensorboard")
    assert not [event for event in heard if isinstance(event, Warned)]
    assert version.run is not None
    folder = registry.home.root / "tensorboard" / version.run.settings["run"]
    written = EventAccumulator(str(folder))
    written.Reload()
    steps = [event for event in heard if isinstance(event, Stepped)]
    losses = [(point.step, point.value) for point in written.Scalars("train/loss")]
    assert losses == [(step.step, pytest.approx(step.loss)) for step in steps]
    assert [point.value for point in written.Scalars("train/lr")] == pytest.approx([s.lr for s in steps])
    validations = [(event.step, event.loss) for event in heard if isinstance(event, Validated)]
    assert [(p.step, pytest.approx(p.value)) for p in written.Scalars("validation/loss")] == validations
    assert {"train/tokens_per_second", "train/memory"} <= set(written.Tags()["scalars"])
    settings = next(folder.glob("*/hparams.yml")).read_text()
    assert "lr: 0.01" in settings and "adapter: lessons" in settings
    assert version.digest == go(registry, tiny_llama)[0].digest  # a tracker changes nothing


class Broken:
    """A tracker of accelerate that loses its connection at the third figure."""

    requires_logging_directory = False
    name = "tensorboard"
    told: ClassVar[list[int]] = []

    def __init__(self, *words: Any, **options: Any) -> None:
        pass

    def start(self) -> None:
        pass

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        pass

    def log(self, values: dict[str, Any], step: int) -> None:
        self.told.append(step)
        if len(self.told) == 3:
            raise ConnectionError("the server hung up")

    def finish(self) -> None:
        raise AssertionError("it was given up before")


def test_one_that_fails_is_left_alone(
    registry: Registry, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from accelerate.tracking import LOGGER_TYPE_TO_CLASS

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "tensorboard", Broken)
    version, heard = go(registry, tiny_llama, "tensorboard")
    warnings = [event.text for event in heard if isinstance(event, Warned)]
    assert len(warnings) == 1 and "ConnectionError: the server hung up" in warnings[0]
    assert len(Broken.told) == 3
    assert version.ref == "lessons@1"


def test_one_that_is_not_there_is_told_before_anything_else(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(trackers.PACKAGES, "wandb", ("wandb_of_nobody",))
    (tmp_path / "wandb_of_nobody").mkdir()  # records of earlier runs are no package
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(Unavailable, match="wandb is not installed") as caught:
        train("no-such-domain", registry=registry, log_to=["wandb"])
    assert caught.value.hint == "pip install wandb_of_nobody"
    with pytest.raises(UsageError, match="'paper' is no tracker"):
        train("no-such-domain", registry=registry, log_to=["paper"])
    assert importlib.util.find_spec("tensorboard") is not None
    trackers.check_trackers(["tensorboard"])
