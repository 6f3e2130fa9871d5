"""The loss without all logits at once is torch's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lftreg.objectives import fused
from lftreg.objectives.fused import fused_loss, is_plain


@pytest.fixture(params=[True, False], ids=["bias", "no bias"])
def head(request: pytest.FixtureRequest) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(16, 50, bias=request.param).requires_grad_(False)


@pytest.mark.parametrize("at_once", [2**25, 50 * 128])
def test_loss_and_gradient_are_those_of_all_logits(
    head: nn.Linear, at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fused, "AT_ONCE", at_once)
    hidden = torch.randn(300, 16, requires_grad=True)
    labels, counts = torch.randint(50, (300,)), torch.rand(300)
    total, losses = fused_loss(hidden, head, labels, counts)
    each = F.cross_entropy(head(hidden), labels, reduction="none")
    torch.testing.assert_close(losses, each.detach())
    torch.testing.assert_close(total, (each * counts).sum())
    (ours,) = torch.autograd.grad(3 * total, hidden)
    (theirs,) = torch.autograd.grad(3 * (each * counts).sum(), hidden)
    torch.testing.assert_close(ours, theirs)
    assert not losses.requires_grad


def test_what_is_compiled_is_the_same_function(head: nn.Linear) -> None:
    """Its numbers, as it is written; a compiler is another thing."""
    logits = head(torch.randn(300, 16))
    labels, counts = torch.randint(50, (300,)), torch.rand(300)
    losses, slope = fused.loss_and_slope(logits, labels, counts)
    plain, plain_slope = fused._loss_and_slope_by_torch(logits, labels, counts)
    torch.testing.assert_close(losses, plain)
    torch.testing.assert_close(slope, plain_slope)
    halved, halved_slope = fused.loss_and_slope(logits.bfloat16(), labels, counts)
    assert halved.dtype == torch.float32 and halved_slope.dtype == torch.bfloat16
    torch.testing.assert_close(halved, plain, rtol=2e-2, atol=2e-2)


def test_a_token_that_is_no_number_spoils_no_other(head: nn.Linear) -> None:
    hidden = torch.randn(4, 16)
    hidden[1] = torch.nan
    hidden.requires_grad_()
    total, losses = fused_loss(hidden, head, torch.tensor([1, 2, 3, 4]), torch.ones(4))
    (gradient,) = torch.autograd.grad(total, hidden)
    assert losses.isfinite().tolist() == [True, False, True, True]
    assert gradient.isfinite().all(1).tolist() == [True, False, True, True]


def test_nothing_is_kept_where_no_gradient_is_wanted(head: nn.Linear) -> None:
    with torch.no_grad():
        total, losses = fused_loss(torch.randn(4, 16), head, torch.tensor([1, 2, 3, 4]), torch.ones(4))
    assert not total.requires_grad and len(losses) == 4


def test_what_is_more_than_a_product_is_none() -> None:
    class Scaled(nn.Linear):
        pass

    assert is_plain(nn.Linear(2, 2).requires_grad_(False))
    assert not is_plain(nn.Linear(2, 2))
    assert not is_plain(Scaled(2, 2).requires_grad_(False))
