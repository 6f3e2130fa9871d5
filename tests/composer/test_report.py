"""The measure itself: small errors are seen, and nothing is built in full."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from lftreg.composer.parents import Parent, Slot
from lftreg.composer.report import relative_error
from lftreg.composer.settings import read_settings
from lftreg.models.skeleton import Layer
from lftreg.registry import Version

LAYER = Layer("proj", 30, 20)
Factors = tuple[torch.Tensor, torch.Tensor]


def written(path: Path, factors: Factors) -> Path:
    a, b = Slot(LAYER, 1, 1.0).keys
    save_file({a: factors[0].contiguous(), b: factors[1].contiguous()}, path)
    return path


def parent(path: Path, factors: Factors, weight: float, scale: float, version: Version) -> Parent:
    slot = Slot(LAYER, factors[0].shape[0], scale)
    config = {"peft_type": "LORA", "r": slot.rank, "lora_alpha": 1, "target_modules": ["proj"]}
    return Parent(
        version, weight, read_settings(config, "x"), {"proj": slot}, "float32", written(path, factors)
    )


@pytest.fixture
def parents(tmp_path: Path, pair: tuple[Version, Version]) -> list[Parent]:
    torch.manual_seed(0)
    factors = [(torch.randn(r, 30).double(), torch.randn(20, r).double()) for r in (3, 5)]
    return [
        parent(tmp_path / "one", factors[0], 0.7, 2.0, pair[0]),
        parent(tmp_path / "two", factors[1], -0.3, 0.5, pair[1]),
    ]


def exact(parents: list[Parent]) -> Factors:
    """The factors side by side, in float64."""
    from safetensors.torch import load_file

    a, b = Slot(LAYER, 1, 1.0).keys
    files = [(load_file(p.file), p.weight * p.slots["proj"].scale) for p in parents]
    return torch.cat([f[a] for f, _ in files]), torch.cat([f[b] * scale for f, scale in files], 1)


@pytest.mark.parametrize("size", [1e-14, 1e-10, 1e-6, 1e-2, 1.0, 100.0])
def test_an_error_of_any_size_is_measured(tmp_path: Path, parents: list[Parent], size: float) -> None:
    a, b = exact(parents)
    file = written(tmp_path / "made", (a, b * (1 + size)))
    measured = relative_error(file, {"proj": Slot(LAYER, 8, 1.0)}, parents)
    assert measured == pytest.approx(size, rel=0.05 if size < 1e-12 else 1e-4)


def test_the_result_counts_by_its_own_scale(tmp_path: Path, parents: list[Parent]) -> None:
    file = written(tmp_path / "made", exact(parents))
    assert relative_error(file, {"proj": Slot(LAYER, 8, 3.0)}, parents) == pytest.approx(2.0)


def test_of_nothing_there_is_no_part(tmp_path: Path, parents: list[Parent]) -> None:
    nothing = [Parent(p.version, 0.0, p.settings, p.slots, p.dtype, p.file) for p in parents]
    a, b = exact(parents)
    slots = {"proj": Slot(LAYER, 8, 1.0)}
    assert relative_error(written(tmp_path / "made", (a, b)), slots, nothing) is None
    assert relative_error(written(tmp_path / "zero", (a, b * 0)), slots, nothing) == 0.0


def test_more_rank_than_the_layer_has(tmp_path: Path, pair: tuple[Version, Version]) -> None:
    torch.manual_seed(1)
    factors = (torch.randn(64, 30).double(), torch.randn(20, 64).double())
    only = [parent(tmp_path / "wide", factors, 1.0, 1.0, pair[0])]
    file = written(tmp_path / "made", factors)
    assert relative_error(file, {"proj": Slot(LAYER, 64, 1.0)}, only) == pytest.approx(0, abs=1e-14)
