"""Where the tokens of some rows lie in one tensor, and which places predict what is learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.objectives.rows import IGNORED, Row

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True, slots=True)
class Layout:
    """Rows as token ids (lines, longest) for a model that predicts the next token.

    `positions` counts each row from 0 where several share a line, and is None where none do. `places`
    (learned,) are indices into the flattened lines whose outputs predict `labels` (learned,), row by row.
    """

    ids: torch.Tensor
    positions: torch.Tensor | None
    places: torch.Tensor
    labels: torch.Tensor


def lay_out(rows: Sequence[Row], device: torch.device, room: int | None = None) -> Layout:
    """One row a line, filled up on the right, where causal attention never looks; with `room`, packed.

    Any id will do to fill up with: a pad token may be one that the base has no embedding for.
    Packed lines hold up to `room` tokens, or the longest row. Everything is counted here, on the host: a mask
    would have to be read back from the device.
    """
    import torch

    lines = [[number] for number in range(len(rows))] if room is None else pack(rows, room)
    longest = max(sum(len(rows[number].ids) for number in line) for line in lines)
    starts = [0] * len(rows)
    ids, positions = [], []
    for at, line in enumerate(lines):
        told: list[int] = []
        counted: list[int] = []
        for number in line:
            starts[number] = at * longest + len(told)
            told += rows[number].ids
            counted += range(len(rows[number].ids))
        rest = longest - len(told)
        ids.append(told + [0] * rest)
        positions.append(counted + list(range(rest)))
    places = [
        start + at - 1
        for start, row in zip(starts, rows, strict=True)
        for at, label in enumerate(row.labels)
        if label != IGNORED
    ]
    return Layout(
        torch.tensor(ids, device=device),
        None if len(lines) == len(rows) else torch.tensor(positions, device=device),
        torch.tensor(places, device=device),
        learned_labels(rows, device),
    )


def lay_on_a_line(rows: Sequence[Row], device: torch.device) -> Layout:
    """Rows one after another on one line (1, tokens), each with positions of its own."""
    import numpy as np

    sizes = np.array([len(row.ids) for row in rows])
    ids = np.concatenate([np.array(row.ids, dtype=np.int64) for row in rows])
    labels = np.concatenate([np.array(row.labels, dtype=np.int64) for row in rows])
    positions = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    learned = np.flatnonzero(labels != IGNORED)
    return Layout(
        on_device(ids[None], device),
        on_device(positions[None], device),
        on_device(learned - 1, device),
        on_device(labels[learned], device),
    )


def on_device(numbers: Any, device: torch.device) -> torch.Tensor:
    """A tensor of numpy's numbers, on its way to a device: nobody waits for it."""
    import torch

    made = torch.from_numpy(numbers)
    return made.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else made.to(device)


def learned_labels(rows: Sequence[Row], device: torch.device) -> torch.Tensor:
    """The ids that rows learn, (learned,), row by row."""
    import torch

    return torch.tensor([x for row in rows for x in row.labels if x != IGNORED], device=device)


def learned_places(rows: Sequence[Row], device: torch.device) -> torch.Tensor:
    """Indices (learned,) into the flattened labels, padded to (rows, longest), of what rows learn."""
    import torch

    longest = max(len(row.labels) for row in rows)
    places = [
        number * longest + at
        for number, row in enumerate(rows)
        for at, label in enumerate(row.labels)
        if label != IGNORED
    ]
    return torch.tensor(places, device=device)


def pack(rows: Sequence[Row], room: int) -> list[list[int]]:
    """Numbers of rows, as lines that hold up to `room` tokens together: the longest first, each where it fits.

    First fit decreasing, which never needs more than 11/9 of the fewest lines, and one more (Johnson 1973).
    """
    room = max(room, max(len(row.ids) for row in rows))
    lines: list[list[int]] = []
    free: list[int] = []
    for number in sorted(range(len(rows)), key=lambda n: -len(rows[n].ids)):
        size = len(rows[number].ids)
        at = next((line for line, left in enumerate(free) if left >= size), None)
        if at is None:
            at = len(lines)
            lines.append([])
            free.append(room)
        lines[at].append(number)
        free[at] -= size
    return lines
