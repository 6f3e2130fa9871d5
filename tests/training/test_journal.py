"""What a run tells is on the disk as it goes, and comes to what its version keeps."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from lftreg.advice.reading import find_signals
from lftreg.registry import Registry
from lftreg.training import Runs
from lftreg.training.events import Stepped, Validated
from lftreg.training.journal import JOURNAL, read_journal
from lftreg.training.losses import LOSSES, Losses
from tests.training.test_resume import Pulled, go, pulls


def test_a_run_that_was_killed_leaves_all_that_it_told(registry: Registry, tiny_llama: Path) -> None:
    with pytest.raises(Pulled):
        go(registry, tiny_llama, pulls(11))
    (run,) = Runs(registry.home).list()
    with (run.path / JOURNAL).open("a") as file:
        file.write('{"kind": "Stepped", "step": 12, "lo')  # cut off by the kill
    journal = read_journal(run.path)
    assert [step.step for step in journal.steps] == list(
        range(1, 11)
    )  # the 11th was told to its killer first
    assert [one.step for one in journal.validations] == [0, 10]
    signals = find_signals(run.id, registry)
    assert (signals.status, signals.steps, signals.planned) == ("interrupted", 10, 24)


def test_what_went_on_counts_every_step_once(registry: Registry, tiny_llama: Path) -> None:
    with pytest.raises(Pulled):
        go(registry, tiny_llama, pulls(11))
    heard: list[object] = []
    version = go(registry, tiny_llama, heard.append, resume=True)
    losses = Losses.from_bytes(registry.read(version, LOSSES))
    assert [step.step for step in losses.steps] == list(range(1, 25))
    assert all(step.norm is not None and step.norm > 0 for step in losses.steps)
    for one in losses.validations:
        assert one.right is not None
        assert one.entropy is not None
        assert 0 <= one.right <= 1
        assert 0 < one.entropy < math.log(20_000)
    assert losses.facts["rows"] == {"train": 20, "validation": 4, "test": 0}
    assert losses.facts["ended"] == 1.0
    assert not (Runs(registry.home).list()[0].path / JOURNAL).exists()
    assert find_signals("lessons", registry).points == find_signals(version.ref, registry).points


def test_losses_of_an_older_lftreg_can_still_be_read() -> None:
    old = {
        "unit": "token",
        "steps": {
            "step": [1], "steps": [1], "loss": [2.0], "lr": [1e-3], "tokens": [9], "seconds": [0.1], "memory": [7],
        },
        "validations": [{"step": 0, "loss": 2.1, "best": True, "accuracy": None}],
    }  # fmt: skip
    losses = Losses.from_bytes(json.dumps(old).encode())
    assert losses.steps == (Stepped(1, 1, 2.0, 1e-3, 9, 0.1, 7),)
    assert losses.validations == (Validated(0, 2.1, True),)
    assert losses.facts == {}
