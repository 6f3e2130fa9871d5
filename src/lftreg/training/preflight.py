"""What has to hold before step 1, and would else only show as a poor adapter, or not at all.

That each row keeps something to learn and ends where it should is proven where rows are made (objectives), that a
target is in every layer where targets are read (models.targets), that nothing but the adapter is trained where it is
attached (models.fresh).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lftreg.errors import InvalidData, LftregError
from lftreg.objectives.rows import IGNORED, Row, Rows
from lftreg.plugins.types import Split

OWN = (
    ".lora_",
    ".modules_to_save.",
)  # parts of the names of what belongs to an adapter; the second is a head
APART = 1e-3  # nats by which a neighbour's change may move a row's loss, for rounding's sake


def check_ids(rows: Mapping[Split, Rows], config: Mapping[str, Any], base: str) -> None:
    """Every id has a row in the base's embeddings. Raises InvalidData that names the first one that has none."""
    size = config.get("vocab_size") or (config.get("text_config") or {}).get("vocab_size")
    if not isinstance(size, int):
        return
    for split, found in rows.items():
        for row in found.rows:
            highest = max(max(row.ids), *(label for label in row.labels if label != IGNORED), 0)
            if highest >= size:
                raise InvalidData(
                    f"{split} row {row.number} has token {highest}, and base {base!r} knows {size} tokens only",
                    "its tokenizer and its weights do not belong together",
                    code="token-out-of-range",
                )


def check_gradients(model: Any) -> None:
    """Every trained parameter has a gradient, after a first backward pass.

    Experts of a mixture are an exception: those that no token went to have none. Raises LftregError.
    """
    missing = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and parameter.grad is None and "expert" not in name
    ]
    if missing:
        raise LftregError(
            f"no gradient reaches {missing[0]}"
            + (f" and {len(missing) - 1} more" if len(missing) > 1 else ""),
            "these parts of the base are not used for this task: leave them out with --targets",
            code="no-gradient",
        )


def packs_apart(objective: Any, model: Any, rows: Sequence[Row]) -> bool:
    """Whether rows that share a line do not see each other, by this very base: one is changed, the others watched.

    transformers tells packed rows apart by their positions, in most of its models and not in all.
    """
    import torch

    few = sorted(rows, key=lambda row: len(row.ids))[:3]
    if len(few) < 2:
        return True
    first = few[0]
    other = Row(tuple(first.ids[:1]) + tuple(reversed(first.ids[1:])), first.labels)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            before = objective.losses(model, few)[1:]
            after = objective.losses(model, [other, *few[1:]])[1:]
    finally:
        model.train(training)
    return bool((before - after).abs().max() < APART * max(1.0, float(before.abs().max())))
