"""The shapes of a base that was found on this disk, for the gate: by the headers of its files, else by its model."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lftreg.errors import LftregError
from lftreg.models.base import FoundBase, weight_files
from lftreg.tensors.shapes import PREFIXES, Shape, Shapes

# Types of transformers that are built of its Conv1D, a linear layer that keeps its weight transposed.
_CONV1D = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer", "clvp"})


def shapes_of(base: FoundBase) -> Shapes:
    """Shapes of every weight of a base. torch is loaded only for what the headers leave open."""
    kind = base.record.model_type
    return Shapes.of_files(
        weight_files(base.folder, base.record.id),
        lambda: _built(base),
        prefixes=(*PREFIXES, kind),
        transposed=kind in _CONV1D,
    )


def _built(base: FoundBase) -> Mapping[str, Shape] | None:
    from lftreg.models.targets import empty_model

    try:
        code: Path | None = base.folder if base.code else None
        model = empty_model(base.config, code=code)
    except LftregError:
        return None  # whoever loads it is told why
    return {
        name.removesuffix(".weight"): tuple(parameter.shape)
        for name, parameter in model.named_parameters(remove_duplicate=False)
        if name.endswith(".weight")
    }
