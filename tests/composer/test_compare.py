"""Two adapters against each other: every figure against PEFT's own updates, in full and in float64."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from lftreg.composer.compare import compare
from lftreg.composer.inspection import grid
from lftreg.errors import Incompatible, InvalidData
from lftreg.registry import Base, Registry, Version

from .conftest import BASES, Kitchen, Tensors

LORA: list[dict[str, Any]] = [
    {},
    {"r": 3, "lora_alpha": 5, "use_rslora": True},
    {"target_modules": ["q_proj", "o_proj"], "r": 7},
    {"rank_pattern": {"q_proj": 2}, "alpha_pattern": {"layers.1.mlp.down_proj": 16}},
    {"dtype": torch.bfloat16},
]


def norm(tensors: Tensors) -> float:
    return float(sum(delta.square().sum() for delta in tensors.values()) ** 0.5)


def dense_conflict(a: torch.Tensor, b: torch.Tensor) -> float:
    rows, columns = grid(a.shape[0]), grid(a.shape[1])
    return float((a[rows, columns] * b[rows, columns] < 0).double().mean())


@pytest.mark.parametrize("lora", LORA)
def test_every_figure_is_that_of_the_full_updates(
    kitchen: Kitchen, registry: Registry, lora: dict[str, Any]
) -> None:
    one, other = kitchen.parent("a", 1), kitchen.parent("b", 2, **lora)
    found = compare(one, other, registry)
    a, b = kitchen.deltas(one), kitchen.deltas(other)
    off = kitchen.expected((one, 1.0), (other, -1.0))
    assert found.norms == pytest.approx((norm(a), norm(b)), rel=1e-9)
    assert found.difference == pytest.approx(norm(off), rel=1e-9)
    assert found.relative == pytest.approx(norm(off) / norm(a), rel=1e-9)
    across = sum(float((a[path] * b[path]).sum()) for path in a if path in b)
    assert found.cosine == pytest.approx(across / norm(a) / norm(b), rel=1e-8)
    assert [layer.path for layer in found.layers] == sorted({*a, *b})
    assert not found.estimated
    for layer in found.layers:
        path = layer.path
        assert layer.shape == tuple(off[path].shape)
        assert layer.difference == pytest.approx(float(off[path].norm()), rel=1e-9)
        if path in a and path in b:
            wanted = torch.nn.functional.cosine_similarity(a[path].flatten(), b[path].flatten(), dim=0)
            assert layer.cosine == pytest.approx(float(wanted), abs=1e-9)
            assert layer.conflict == pytest.approx(dense_conflict(a[path], b[path]), abs=2e-3)
        else:
            assert (layer.cosine, layer.conflict) == (None, None)


def test_layers_of_one_only_and_their_ranks(kitchen: Kitchen, registry: Registry) -> None:
    one = kitchen.parent("a", 1, target_modules=["q_proj", "v_proj"], r=2)
    other = kitchen.parent("b", 2, target_modules=["q_proj", "o_proj"], r=5)
    found = compare(one, other, registry)
    assert {path.rsplit(".", 1)[1] for path in found.only_in(0)} == {"v_proj"}
    assert {path.rsplit(".", 1)[1] for path in found.only_in(1)} == {"o_proj"}
    assert len(found.only_in(0)) == len(found.only_in(1)) == 2
    assert (found.ranks(0), found.ranks(1)) == ((2,), (5,))
    by_kind = {layer.path.rsplit(".", 1)[1]: layer for layer in found.layers}
    assert by_kind["q_proj"].ranks == (2, 5)
    assert by_kind["v_proj"].ranks == (2, None) and by_kind["v_proj"].norms[1] == 0
    assert by_kind["o_proj"].ranks == (None, 5) and by_kind["o_proj"].norms[0] == 0


@pytest.mark.parametrize("step", [1e-1, 1e-3, 1e-5, 1e-6])
@pytest.mark.parametrize("turned", [False, True])
def test_near_equals_are_told_apart(kitchen: Kitchen, registry: Registry, step: float, turned: bool) -> None:
    """`turned` factors have nothing in common, and nearly the same product."""

    def nudge(config: dict[str, Any], tensors: Tensors) -> None:
        torch.manual_seed(5)
        for key in [key for key in tensors if "lora_A" in key]:
            a, b = tensors[key].double(), tensors[key.replace("lora_A", "lora_B")].double()
            if turned:
                turn = torch.linalg.qr(torch.randn(len(a), len(a), dtype=torch.float64)).Q
                a, b = turn @ a, b @ turn.T
            tensors[key] = (a + step * torch.randn_like(a) * a.std()).float()
            tensors[key.replace("lora_A", "lora_B")] = b.float().contiguous()

    one, other = kitchen.parent("a", 1), kitchen.parent("b", 1, change=nudge)
    found = compare(one, other, registry)
    whole = norm(kitchen.deltas(one))
    wanted = norm(kitchen.expected((one, 1.0), (other, -1.0)))
    assert 0.1 * step < wanted / whole < 10 * step + 1e-6
    assert abs(found.difference - wanted) < 1e-9 * whole
    for layer in found.layers:
        exact = kitchen.expected((one, 1.0), (other, -1.0))[layer.path].norm()
        assert abs(layer.difference - float(exact)) < 1e-9 * whole


def test_an_adapter_is_no_way_from_itself(kitchen: Kitchen, registry: Registry) -> None:
    one = kitchen.parent("a", 1)
    heard: list[str] = []
    again = compare(one, one, registry, lambda doing, done=0: heard.append(doing))
    assert len(heard) == len(again.layers)
    assert again.difference == 0 and again.relative == 0
    assert again.cosine == pytest.approx(1)
    assert again.conflict == 0


def test_one_that_adds_nothing(kitchen: Kitchen, registry: Registry) -> None:
    def empty(config: dict[str, Any], tensors: Tensors) -> None:
        for key in tensors:
            if "lora_B" in key:
                tensors[key] = torch.zeros_like(tensors[key])

    one, other = kitchen.parent("a", 1, change=empty), kitchen.parent("b", 2)
    found = compare(one, other, registry)
    assert (found.relative, found.cosine) == (None, None)
    assert found.difference == pytest.approx(norm(kitchen.deltas(other)), rel=1e-9)


def test_more_ranks_than_are_measured_exactly(kitchen: Kitchen, registry: Registry) -> None:
    one, other = kitchen.parent("a", 1, r=300), kitchen.parent("b", 2, r=300)
    found = compare(one, other, registry)
    assert found.estimated
    wanted = norm(kitchen.expected((one, 1.0), (other, -1.0)))
    assert found.difference == pytest.approx(wanted, rel=0.25)  # six small layers only


@pytest.mark.parametrize(
    ("lora", "code"), [({"use_dora": True}, "uses-use-dora"), ({"bias": "lora_only"}, "uses-bias")]
)
def test_what_is_no_sum_of_factors_is_refused_by_name(
    kitchen: Kitchen, registry: Registry, lora: dict[str, Any], code: str
) -> None:
    with pytest.raises(Incompatible) as raised:
        compare(kitchen.parent("a", 1), kitchen.parent("b", 2, **lora), registry)
    assert raised.value.code == code
    assert "b@1" in raised.value.message


def test_different_bases(kitchen: Kitchen, registry: Registry) -> None:
    other = Base("cc" * 32, "org/other", "llama", 1000)
    with pytest.raises(Incompatible) as raised:
        compare(kitchen.parent("a", 1), kitchen.parent("b", 2, record=other), registry)
    assert raised.value.code == "different-bases"
    assert BASES["llama"].id in raised.value.message and "org/other" in raised.value.message


def test_numbers_that_are_none(kitchen: Kitchen, registry: Registry, tmp_path: Path) -> None:
    def spoil(config: dict[str, Any], tensors: Tensors) -> None:
        next(iter(tensors.values()))[0, 0] = float("nan")

    versions: tuple[Version, Version] = kitchen.parent("a", 1), kitchen.parent("b", 2, change=spoil)
    with pytest.raises(InvalidData) as raised:
        compare(*versions, registry)
    assert raised.value.code == "not-finite" and "b@1" in raised.value.message
