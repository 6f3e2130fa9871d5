"""Streaming against safetensors itself and torch's own roundings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load, save_file

from lftreg.errors import CheckFailed
from lftreg.tensors import NAMES, Source, from_float32, header_bytes

# Halves that tie, the largest and smallest of each kind, subnormals, infinities, a NaN.
HARD = [
    0.0,
    -0.0,
    1.0,
    -2.5,
    1e-45,
    1e-40,
    6e-8,
    65504.0,
    65520.0,
    3.4e38,
    3.39e38,
    1e39,
    float("inf"),
    float("nan"),
]


@pytest.fixture
def hard() -> torch.Tensor:
    torch.manual_seed(0)
    ties = (torch.arange(4096) << 15).int().view(torch.float32)
    return torch.cat([torch.tensor(HARD), torch.randn(999) * 3, ties, -ties]).reshape(-1, 1)


@pytest.mark.parametrize("name", NAMES)
def test_rounds_as_torch_does(hard: torch.Tensor, name: str) -> None:
    wanted = hard.to(getattr(torch, name))
    made = from_float32(hard.numpy(), NAMES[name])
    back = torch.from_numpy(made.view(np.int16) if name != "float32" else made)
    back = back if name == "float32" else back.view(getattr(torch, name))
    assert torch.equal(torch.nan_to_num(back, 7.0), torch.nan_to_num(wanted, 7.0))
    assert torch.equal(back.isnan(), wanted.isnan())


@pytest.mark.parametrize("name", [*NAMES, "float64"])
def test_reads_rows_of_any_kind(hard: torch.Tensor, tmp_path: Path, name: str) -> None:
    values = hard[:5000].reshape(50, 2, -1).to(getattr(torch, name))
    save_file({"before": torch.ones(3), "x": values.contiguous()}, tmp_path / "f")
    with Source(tmp_path / "f") as source:
        assert np.array_equal(source.read("x"), values.float().numpy(), equal_nan=True)
        assert np.array_equal(source.read("x", 7, 9), values[7:9].float().numpy(), equal_nan=True)
        out = np.zeros((1, 2, values.shape[2]), np.float32)
        source.read("x", 49, out=out)
        assert np.array_equal(out, values[49:].float().numpy(), equal_nan=True)


def test_a_header_that_safetensors_reads() -> None:
    first, second = np.arange(6, dtype=np.float32).reshape(2, 3), np.ones((2, 1), np.float32)
    tensors = {"zebra": ("F32", (2, 3)), "apple": ("BF16", (2, 1))}
    content = (
        header_bytes(tensors, {"format": "pt"}) + first.tobytes() + from_float32(second, "BF16").tobytes()
    )
    loaded = load(content)
    assert torch.equal(loaded["zebra"], torch.from_numpy(first))
    assert torch.equal(loaded["apple"], torch.ones(2, 1, dtype=torch.bfloat16))
    assert int.from_bytes(content[:8], "little") % 8 == 0


def test_a_file_cut_short_under_the_reader_is_told(tmp_path: Path) -> None:
    save_file({"x": torch.ones(1000)}, tmp_path / "f")
    with Source(tmp_path / "f") as source:
        with (tmp_path / "f").open("r+b") as file:
            file.truncate(900)
        with pytest.raises(CheckFailed) as told:
            source.read("x")
    assert told.value.code == "changed-file"
