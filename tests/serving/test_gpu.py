"""What only a GPU has: recorded steps, and kernels that take each row to its own adapter."""

from __future__ import annotations

from pathlib import Path

import pytest

from lftreg import Registry
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.serving.engine import Engine
from lftreg.serving.selftest import reference_of, selftest

from .adapters import ATTENTION, put


def test_recorded_steps_answer_as_a_reference_does(registry: Registry) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    loaded = load_base(find_base("starter", registry), "float32")
    versions = [
        put(registry, loaded, f"a{n}", n, rank=(4, 8, 16, 24)[n % 4], targets=ATTENTION if n % 3 else None)
        for n in range(12)
    ]
    reference = reference_of(loaded, registry)
    engine = Engine(loaded, registry, rows=8, slots=10)
    try:
        assert engine.together.recorded is not None
        report = selftest(engine, reference, versions, 200)
        assert report.wrong == []
        assert report.failed == 0
    finally:
        engine.close()


def test_a_base_whose_steps_cannot_be_recorded_answers_all_the_same(
    registry: Registry, tiny_llama: Path
) -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("there is no GPU here")
    loaded = load_base(find_base(str(tiny_llama), registry), "float32")
    versions = [put(registry, loaded, f"a{n}", n, scale=2.0) for n in range(4)]
    reference = reference_of(loaded, registry)
    layer = loaded.model.model.layers[0].mlp
    layer.register_forward_hook(lambda module, inputs, output: output * float(output.isfinite().all().item()))
    engine = Engine(loaded, registry, rows=4, slots=4)
    try:
        assert engine.together.recorded is not None
        report = selftest(engine, reference, versions, 40)
        assert engine.together.recorded is None
        assert report.wrong == []
        assert report.failed == 0
    finally:
        engine.close()
