"""Rows of different lengths as one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def padded(rows: Sequence[Sequence[int]], filler: int, device: torch.device) -> torch.Tensor:
    """Whole numbers as (rows, longest), each row filled up on its right."""
    import torch

    longest = max(map(len, rows))
    return torch.tensor([[*row, *[filler] * (longest - len(row))] for row in rows], device=device)


def attended(rows: Sequence[Sequence[int]], device: torch.device) -> torch.Tensor:
    """The mask (rows, longest) that is 1 where a row has an id."""
    return padded([[1] * len(row) for row in rows], 0, device)
