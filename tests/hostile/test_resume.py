"""Checkpoints that somebody has put in place of ours: `--resume` takes none of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from lftreg.errors import InvalidData
from lftreg.training.checkpoint import NEWEST, Keeper, _digest, state_of
from lftreg.training.state import State
from tests.hostile.inputs import FILES, WEIGHTS, Hostile, write_good

# A FIFO, a device or a folder is no checkpoint at all: training begins anew.
NONE = (
    "01-pickle",
    "03-both-formats",
    "06-fifo",
    "07-device",
    "08-directory",
    "20-changed-while-hashing",
    "21-code",
)
STRANGE = {name: one for name, one in FILES.items() if name not in NONE}


def refused(folder: Path) -> None:
    learner: Any = None  # nobody comes so far
    with pytest.raises(InvalidData) as error:
        Keeper(folder).restore(learner)
    assert error.value.code == "damaged-checkpoint"


@pytest.mark.parametrize("hostile", STRANGE.values(), ids=STRANGE)
def test_no_file_of_a_stranger_is_one(tmp_path: Path, hostile: Hostile) -> None:
    folder = write_good(tmp_path / "run", "some-base")
    hostile.spoil(folder)
    (folder / WEIGHTS).rename(folder / NEWEST)
    refused(folder)
    assert state_of(folder / NEWEST) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [("factor.q_proj", float("nan")), ("best.q_proj", float("inf")), ("base_model.lm_head.weight", 1.0)],
    ids=["22-nan", "23-inf", "24-base-key"],
)
def test_one_of_our_own_kind_is_looked_into(tmp_path: Path, name: str, value: float) -> None:
    tensors = {name: torch.full((2, 2), value)}
    state = json.dumps(State(1).as_dict())
    save_file(tensors, tmp_path / NEWEST, metadata={"state": state, "sha256": _digest(tensors)})
    refused(tmp_path)
