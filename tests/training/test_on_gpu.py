"""What only a GPU has: one kernel for all rows, factors side by side, layers that are compiled."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from lftreg.models.base import find_base
from lftreg.models.line import on_one_line, takes_a_line
from lftreg.models.load import Loaded, load_base
from lftreg.registry import Registry
from lftreg.training.asks import Learn
from lftreg.training.cohort import Shared
from lftreg.training.flat import Flat

from .test_stacks import COMPANIES, away, lanes, rows

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
CLOSE = 2e-2  # of a norm, in bfloat16
AS_GOOD = 1.5  # times as far from what float32 gives as the plain way is: what another order of sums may cost


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
def test_gradients_are_as_near_to_those_of_float32_as_the_plain_way_s(
    company: str, compiling: bool, loaded: Loaded
) -> None:
    """Of one pass: AdamW makes a whole step of a gradient near nothing, so what has learned is no measure. Over all
    lanes: few tokens are off by chance, one lane's in the one way and another's in the other."""
    _, plain = learned(loaded, company, stacked=False)
    losses, fast = learned(loaded, company, stacked=True, compiling=compiling)
    loaded.model.float()
    exact_losses, exact = learned(loaded, company, stacked=False)
    assert losses == pytest.approx(exact_losses, rel=CLOSE)
    off, plain_off = (
        sum(away(of_lane, true) ** 2 for of_lane, true in zip(some, exact, strict=True)) ** 0.5
        for some in (fast, plain)
    )
    assert off < AS_GOOD * plain_off


def learned(
    loaded: Loaded, company: str, *, stacked: bool, compiling: bool = False
) -> tuple[list[float], list[dict[str, torch.Tensor]]]:
    """The losses of a pass in which all lanes learn, and their gradients by layer."""
    wanted, lengths = COMPANIES[company]
    made = lanes(loaded, wanted, flat=True)
    with Shared(loaded.model, stacked=stacked, compiling=compiling) as shared:
        for lane in made:
            shared.hook(lane)
        found = shared.answer(
            [(lane, Learn(rows(some), sum(some))) for lane, some in zip(made, lengths, strict=True)]
        )
    return [float(loss) for loss in found], [gradients(lane.flat) for lane in made]


def gradients(flat: Flat | None) -> dict[str, torch.Tensor]:
    assert flat is not None and flat.a.grad is not None and flat.b.grad is not None
    of_a = {f"{path}.A": flat.a.grad[:, span.a] for path, span in flat.spans.items()}
    return of_a | {f"{path}.B": flat.b.grad[:, span.b] for path, span in flat.spans.items()}
