"""cat of more ranks than fit into memory at once: A parent by parent, B in blocks of rows.

What a hundred adapters need is what two need: one block. What is measured on the way is measured by
random vectors, as the Gram matrices of thousands of ranks would take longer than the sum itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.composer.inspection import PROBES, LayerReport, Sketch, conflict_of, grid, probes_of

if TYPE_CHECKING:
    from lftreg.composer.layers import Floats, Part

BLOCK = 1 << 18  # numbers of a piece of B

Write = Callable[["Floats"], "Floats"]  # takes rows, and gives back what they were rounded to


def write_cat(
    path: str,
    shape: tuple[int, int],
    parts: Sequence[Part],
    read_a: Callable[[Part], Floats],
    read_b: Callable[[Part, int, int], Floats],
    write: Write,
    *,
    rank: int,
    parents: int,
) -> LayerReport:
    """Write A (rank, inputs), then B (outputs, rank), of the sum; `shape` is (outputs, inputs)."""
    import numpy as np

    outputs, inputs = shape
    z = probes_of(inputs).astype(np.float64)
    columns, rows = grid(inputs), grid(outputs)
    seen, wrong, sampled = {}, {}, {}
    used = 0
    for part in parts:
        a = read_a(part)
        written = write(a * np.float32(part.factor))
        seen[part.key] = a.astype(np.float64) @ z
        wrong[part.key] = written.astype(np.float64) @ z
        sampled[part.key] = np.ascontiguousarray(a[:, columns])
        used += len(a)
    if rank > used:
        write(np.zeros((rank - used, inputs), np.float32))

    sketch = Sketch(path, shape, parents, parts)
    picked: dict[int, list[Any]] = {part.key: [] for part in parts}
    step = max(1, BLOCK // rank)
    for start in range(0, outputs, step):
        stop = min(outputs, start + step)
        block = np.zeros((stop - start, rank), np.float32)
        for part in parts:
            block[:, part.rows] = read_b(part, start, stop)
        rounded = write(block)
        done = np.zeros((parents, stop - start, PROBES))
        made = np.zeros((stop - start, PROBES))
        here = [at - start for at in range(*rows.indices(outputs)) if start <= at < stop]
        for part in parts:
            done[part.key] = part.scale * (block[:, part.rows] @ seen[part.key])
            made += rounded[:, part.rows] @ wrong[part.key]
            picked[part.key].append(block[here, part.rows])
        sketch.add(done, made)
    updates = [part.scale * (np.vstack(picked[part.key]) @ sampled[part.key]) for part in parts]
    return sketch.report(conflict_of(updates) if len(parts) > 1 else None)
