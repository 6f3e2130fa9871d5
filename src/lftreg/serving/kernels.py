"""The two products of every row with its own adapter, on a GPU: one kernel for A, one for B.

Rows read the slots that a table names, straight from the pool, so nothing is gathered or padded; a row of several
slots sums them up in the kernel. All shapes are fixed by the batch, so a pass with these kernels can be recorded as
a CUDA graph and run again with another table. Factors that several rows share come out of the GPU's cache.
"""

# mypy: allow-untyped-defs, allow-incomplete-defs, allow-untyped-calls, allow-untyped-decorators
from __future__ import annotations

import torch
import triton
import triton.language as tl

SPLITS = 4  # pieces of an input row that are multiplied side by side
INPUTS, OUTPUTS = 128, 256  # numbers of a row that a program takes at once


@triton.jit
def _shrink(
    x, a, low, table, inputs, wide, rows, parts, a_slot, a_row,
    PIECE: tl.constexpr, WIDE: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """low[split, row, part] = x[row, piece of the split] A[slot of the part]"""
    row, split, part = tl.program_id(0), tl.program_id(1), tl.program_id(2)
    slot = tl.load(table + row * parts + part)
    columns = tl.arange(0, WIDE)
    sums = tl.zeros((WIDE,), tl.float32)
    if slot >= 0:
        for start in range(0, PIECE, STEP):
            at = split * PIECE + start + tl.arange(0, STEP)
            given = tl.load(x + row * inputs + at, mask=at < inputs, other=0.0).to(tl.float32)
            held = tl.load(
                a + slot * a_slot + at[:, None] * a_row + columns[None, :],
                mask=(at[:, None] < inputs) & (columns[None, :] < wide),
                other=0.0,
            ).to(tl.float32)
            sums += tl.sum(given[:, None] * held, 0)
    tl.store(low + ((split * rows + row) * parts + part) * WIDE + columns, sums)


@triton.jit
def _expand(
    low, b, y, table, weights, outputs, rows, parts, first, b_slot,
    RANK: tl.constexpr, WIDE: tl.constexpr, SPLITS: tl.constexpr, STEP: tl.constexpr,
):  # fmt: skip
    """y[row, columns] += sum over parts of weight * low[row, part] B[slot of the part]"""
    row, block = tl.program_id(0), tl.program_id(1)
    at = block * STEP + tl.arange(0, STEP)
    ranks = tl.arange(0, RANK)
    sums = tl.zeros((STEP,), tl.float32)
    for part in range(parts):
        slot = tl.load(table + row * parts + part)
        if slot >= 0:
            scale = tl.load(weights + row * parts + part)
            small = tl.zeros((RANK,), tl.float32)
            for split in range(SPLITS):
                small += tl.load(low + ((split * rows + row) * parts + part) * WIDE + first + ranks)
            held = tl.load(
                b + slot * b_slot + ranks[:, None] * outputs + at[None, :],
                mask=at[None, :] < outputs,
                other=0.0,
            ).to(tl.float32)
            sums += scale * tl.sum(small[:, None] * held, 0)
    kept = tl.load(y + row * outputs + at, mask=at < outputs, other=0.0).to(tl.float32)
    tl.store(y + row * outputs + at, (kept + sums).to(y.dtype.element_ty), mask=at < outputs)


def shrink(x: torch.Tensor, a: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
    """x (rows, inputs) times A of each row's slots: (splits, rows, parts, width up to a power of two), float32."""
    rows, inputs = x.shape
    parts, wide = table.shape[1], a.shape[2]
    room = triton.next_power_of_2(wide)
    piece = triton.cdiv(triton.cdiv(inputs, SPLITS), INPUTS) * INPUTS
    low = x.new_empty(SPLITS, rows, parts, room, dtype=torch.float32)
    _shrink[(rows, SPLITS, parts)](
        x, a, low, table, inputs, wide, rows, parts, a.stride(0), a.stride(1), PIECE=piece, WIDE=room, STEP=INPUTS
    )  # fmt: skip
    return low


def expand(
    low: torch.Tensor,
    b: torch.Tensor,
    y: torch.Tensor,
    table: torch.Tensor,
    weights: torch.Tensor,
    first: int,
) -> None:
    """Add to y (rows, outputs) what B of each row's slots makes of the columns of `low` from `first` on."""
    rows, outputs = y.shape
    _, _, parts, room = low.shape
    _expand[(rows, triton.cdiv(outputs, OUTPUTS))](
        low, b, y, table, weights, outputs, rows, parts, first, b.stride(0), RANK=b.shape[1], WIDE=room, SPLITS=SPLITS,
        STEP=OUTPUTS,
    )  # fmt: skip
