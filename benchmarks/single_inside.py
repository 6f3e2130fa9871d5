"""The contestants of benchmarks/single.py, each of which runs in a process of its own.

    python benchmarks/single_inside.py LETTER '{"shape": ..., ...}' RESULT.json

All train one adapter on the same rows of random ids, in the same order, over the same base of random numbers, and learn
every token.
"""

from __future__ import annotations

import contextlib
import json
import os
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from single_field import APART, PACKED, trl, tutorial, unsloth
from single_watch import Asked, Watch, rows_of
from training_bases import (
    Ids,
    base_of,
    checkpoint_gradients,
    in_steps,
    lanes_of,
    machine,
    matrix_rate,
    parameters_of,
    reset_peak,
    shared_base,
    step_of,
    versions,
)


def ours(
    shape: str,
    rows: Sequence[Ids],
    tokens_a_step: int,
    rank: int,
    quantize: str | None = None,
    *,
    watch: Callable[[], Watch],
    passes: int = 1,
) -> tuple[Watch, dict[str, Any]]:
    """One adapter by lftreg's own loop: rows, as many as fit, in every step, and a part of them in every pass."""
    model = base_of(shape, quantize)
    if quantize is not None:
        checkpoint_gradients(model)
    groups = in_steps(rows, tokens_a_step)
    most = max(len(group) for group in groups)
    lanes, learners, shrunk = lanes_of(model, [rank], -(-most // passes))
    reset_peak()
    seen = watch()
    with shared_base(model, compiling=quantize is None) as shared:
        for lane in lanes:
            shared.hook(lane)
        done = False
        while not done:
            for group in groups:
                losses = step_of(shared, lanes, learners, [group])
                seen.step(losses[0], sum(len(row.ids) for row in group))
                if done := seen.ended():
                    break
    return seen, {"attention": model.config._attn_implementation, "shrunk": shrunk}


CONTESTANTS: dict[str, tuple[str, Callable[[Asked, Path], tuple[Watch, dict[str, Any]]]]] = {
    "a": ("tutorial: Trainer, batch 4, q+v, padded", tutorial),
    "b": (
        "TRL defaults, batch 8",
        lambda asked, folder: trl(asked, folder, per_device_train_batch_size=8),
    ),
    "c": ("TRL, packed (wrapped)", lambda asked, folder: trl(asked, folder, **PACKED)),
    "d": (
        "TRL, packed (wrapped), Liger",
        lambda asked, folder: trl(asked, folder, use_liger_kernel=True, **PACKED),
    ),
    "e": ("unsloth, packed (wrapped)", unsloth),
    "f": (
        "lftreg",
        lambda asked, folder: ours(
            asked.shape, rows_of(asked), asked.tokens_a_step, asked.rank, asked.quantize,
            watch=lambda: Watch(asked),
        ),
    ),
    "i": (
        "lftreg, a step in three passes",
        lambda asked, folder: ours(
            asked.shape, rows_of(asked), asked.tokens_a_step, asked.rank, asked.quantize,
            watch=lambda: Watch(asked), passes=3,
        ),
    ),
    "g": (
        "TRL, packed (bfd: rows apart)",
        lambda asked, folder: trl(asked, folder, **APART),
    ),
    "h": (
        "TRL, packed (bfd: rows apart), flex",
        lambda asked, folder: trl(asked, folder, attention="flex_attention", **APART),
    ),
}  # fmt: skip


@contextlib.contextmanager
def told_in(path: Path) -> Iterator[dict[str, Any]]:
    """Whatever is told goes to a file, and the error that ended it too."""
    told: dict[str, Any] = {}
    try:
        yield told
    except BaseException as error:
        said = str(error).strip().splitlines()
        told["error"] = f"{type(error).__name__}: {said[0][:300] if said else ''}"
        told["traceback"] = traceback.format_exc()[-3000:]
        raise
    finally:
        path.write_text(json.dumps(told))


def main() -> None:
    letter, asked, result = sys.argv[1], Asked(**json.loads(sys.argv[2])), Path(sys.argv[3])
    began = time.perf_counter()
    with told_in(result) as told, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # some tools leave files where they run
        if letter == "e":
            import unsloth as first  # noqa: F401 it changes what is read after it
        told |= {"machine": machine(), "versions": versions(), "matrix_rate": matrix_rate()}
        watch, about = CONTESTANTS[letter][1](asked, Path(folder))
        told |= watch.told() | about | {"parameters": parameters_of(asked.shape)}
        told["start_seconds"] = watch.started - began
        told["whole_seconds"] = time.perf_counter() - began


if __name__ == "__main__":
    main()
