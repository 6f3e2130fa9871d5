"""Whether a model keeps rows apart that share a line."""

from __future__ import annotations

from typing import Any

from lftreg.errors import Incompatible
from lftreg.objectives.layout import lay_out
from lftreg.objectives.rows import Row

SOME, OTHER, LAST = (1, 2, 3, 4), (5, 6, 7, 5), (2, 4, 3, 6)
LARGEST = 1e-2  # of a logit: what rounding may do in bfloat16, where nothing leaks


def check_packing(model: Any) -> None:
    """Raises Incompatible for a model whose rows see what stands before them in their line.

    It is tried, on two lines that differ in their first row alone: not every model that takes positions
    builds its attention from them, and those that carry a state along the line do not either.
    """
    import torch

    training = model.training
    model.eval()
    with torch.no_grad():
        one, other = (_last_logits(model, first) for first in (SOME, OTHER))
    model.train(training)
    if not (one - other).abs().max() <= LARGEST * one.abs().max():  # what is no number is not apart either
        raise Incompatible(
            f"a {model.config.model_type} model cannot take packed rows: "
            "a row that shares a line sees the words of its neighbours",
            "train it without packing",
            code="rows-mix",
        )


def _last_logits(model: Any, first: tuple[int, ...]) -> Any:
    layout = lay_out([Row(first, first), Row(LAST, LAST)], model.device, room=len(first) + len(LAST))
    logits = model(input_ids=layout.ids, position_ids=layout.positions, use_cache=False).logits
    return logits[0, -len(LAST) :].float()
