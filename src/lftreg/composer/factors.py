"""Small things done to the factors of a LoRA: A is (rank, inputs), B is (outputs, rank)."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

_A = re.compile(r"(?<=\.lora_)(?P<kind>embedding_)?A(?P<end>\.weight)?$")


def pairs(keys: Iterable[str]) -> list[tuple[str, str]]:
    """The names of every A and its B in a PEFT state dict, sorted."""
    return [(key, _A.sub(r"\g<kind>B\g<end>", key)) for key in sorted(keys) if _A.search(key)]


def widened(factor: Tensor, rank: int, axis: int) -> Tensor:
    """A factor with zeros up to `rank`: a file has one rank for all layers, or PEFT cannot load it."""
    import torch

    shape = list(factor.shape)
    shape[axis] = rank - shape[axis]
    return torch.cat([factor, factor.new_zeros(shape)], axis) if shape[axis] > 0 else factor
