"""What only a GPU has: one kernel for all rows, factors side by side, layers that are compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lftreg.models.base import find_base
from lftreg.models.line import on_one_line, takes_a_line
from lftreg.models.load import Loaded, load_base
from lftreg.registry import Registry

from . import test_stacks
from .test_stacks import COMPANIES, away, trained

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CLOSE = 2e-2  # of a norm, in bfloat16


@pytest.fixture
def loaded(registry: Registry) -> Loaded:
    return load_base(find_base("starter", registry), "bfloat16")


def test_rows_on_a_line_see_nothing_of_each_other(loaded: Loaded) -> None:
    """Two lines that differ in their first row alone give the second row the same logits, to the bit."""
    model = loaded.model
    assert takes_a_line(model)
    first, other, second = list(range(5, 90)), list(range(105, 190)), list(range(40, 77))
    positions = torch.tensor([[*range(85), *range(37)]], device=model.device)

    def last(line: list[int]) -> Any:
        with torch.no_grad(), on_one_line(model) as cut:
            cut.lay([85, 37], model.device)
            ids = torch.tensor([line], device=model.device)
            return model(input_ids=ids, position_ids=positions, use_cache=False).logits[0, 85:]

    assert torch.equal(last(first + second), last(other + second))
    with torch.no_grad():
        alone = model(input_ids=torch.tensor([second], device=model.device), use_cache=False).logits[0]
    apart = (last(first + second) - alone).float().norm() / alone.float().norm()
    assert apart < CLOSE


@pytest.mark.parametrize("company", COMPANIES)
@pytest.mark.parametrize("compiling", [False, True], ids=["eager", "compiled"])
def test_steps_learn_what_one_lane_after_another_learns(
    company: str, compiling: bool, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(test_stacks, "lanes", _all_flat(test_stacks.lanes))
    plain_told, plain, _ = trained(loaded, company, stacked=False)
    told, fast, _ = trained(loaded, company, stacked=True, compiling=compiling)
    assert told == pytest.approx(plain_told, rel=CLOSE)
    for ours, theirs in zip(fast, plain, strict=True):
        assert (
            away(ours.factors(), theirs.factors()) < 5 * CLOSE
        )  # AdamW makes a whole step of a small gradient


def _all_flat(lanes: Any) -> Any:
    return lambda loaded, wanted, flat: lanes(loaded, wanted, True)
