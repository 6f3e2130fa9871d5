"""Bits per byte on held-out documents.

All documents of a part, each between its opening and its end token, are laid end to end and cut into
windows that do not overlap; every token is predicted from those before it in its window. The sum of
the nats, end tokens included, over ln 2 and over the UTF-8 bytes of the documents is the figure. Unlike
a loss per token it can be compared between tokenizers.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from model import Llama
from torch import Tensor


@dataclass(frozen=True)
class Measure:
    """Held-out tokens of one part and the bytes that they stand for."""

    tokens: Tensor
    bytes: int


@torch.no_grad()
def bits_per_byte(model: Llama, measure: Measure, window: int, device: torch.device) -> float:
    """The figure for one part."""
    tokens = measure.tokens.long()
    rows = math.ceil((len(tokens) - 1) / window)
    inputs = torch.zeros(rows * window, dtype=torch.long)
    targets = torch.full((rows * window,), -100)
    inputs[: len(tokens) - 1], targets[: len(tokens) - 1] = tokens[:-1], tokens[1:]
    nats = 0.0
    per_call = max(1, 65_536 // window) if device.type == "cuda" else 8
    for x, y in zip(
        inputs.view(rows, window).split(per_call), targets.view(rows, window).split(per_call), strict=True
    ):
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            nats += model(x.to(device), y.to(device), reduction="sum").item()
    return nats / math.log(2) / measure.bytes


def measure_all(
    model: Llama, measures: dict[str, Measure], window: int, device: torch.device
) -> dict[str, float]:
    """The figures of all parts."""
    was_training = model.training
    model.eval()
    figures = {name: round(bits_per_byte(model, m, window, device), 4) for name, m in measures.items()}
    model.train(was_training)
    return figures
