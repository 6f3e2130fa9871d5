"""Methods in the core space, and what must hold of every method that is a sum."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lftreg import Version, compose
from lftreg.composer.core_space import core_space, elected, lots, trimmed
from lftreg.composer.layers import Part, Stack

from .conftest import Change, Kitchen, Tensors, distance

Pair = tuple[Version, Version]
SUMS: tuple[dict[str, Any], ...] = (
    {"method": "cat", "engine": "peft"},
    {"method": "cat", "engine": "factors"},
    {"method": "svd", "rank": 4},
    {"method": "svd", "rank": "full"},
    {"method": "dare_core", "density": 1.0},
    {"method": "ties_core"},
    {"method": "knots", "density": 1.0},
)
CORE = ("ties_core", "knots", "dare_core")


@pytest.mark.parametrize("how", SUMS, ids=lambda how: "-".join(map(str, how.values())))
def test_half_of_an_adapter_twice_is_the_adapter(kitchen: Kitchen, pair: Pair, how: dict[str, Any]) -> None:
    made = compose(["a:0.5", "a:0.5"], registry=kitchen.registry, **how)
    assert distance(kitchen.deltas(made), kitchen.deltas(pair[0])) <= 1e-6


def turned(seed: int) -> Change:
    """The same function in other factors: B G and G^-1 A, for each layer another G."""

    def change(config: dict[str, Any], tensors: Tensors) -> None:
        dice = torch.Generator().manual_seed(seed)
        for key in [key for key in tensors if "lora_A" in key]:
            other = key.replace("lora_A", "lora_B")
            g = torch.randn(4, 4, generator=dice, dtype=torch.float64)
            q, r = torch.linalg.qr(g)
            g = q @ (r / r.diagonal().abs().mean() + 2 * torch.eye(4))
            tensors[other] = (tensors[other].double() @ g).float()
            tensors[key] = (torch.linalg.inv(g) @ tensors[key].double()).float()

    return change


@pytest.mark.parametrize(
    "how",
    [how for how in SUMS if how.get("density") != 1.0]
    + [{"method": name} for name in ("ties_core", "knots")],
    ids=lambda how: "-".join(map(str, how.values())),
)
def test_an_equal_function_in_other_factors_gives_the_same(
    kitchen: Kitchen, pair: Pair, how: dict[str, Any]
) -> None:
    kitchen.parent("turned", 1, change=turned(7))
    first = compose(["a:0.7", "b:0.3"], registry=kitchen.registry, name="first", **how)
    second = compose(["turned:0.7", "b:0.3"], registry=kitchen.registry, name="second", **how)
    assert distance(kitchen.deltas(second), kitchen.deltas(first)) <= 1e-6


def stack_of(*pairs: tuple[np.ndarray, np.ndarray], scale: float = 2.0) -> Stack:
    at, parts = 0, []
    for n, (_, a) in enumerate(pairs):
        parts.append(Part(slice(at, at + len(a)), n, f"digest {n}", 1.0, scale))
        at += len(a)
    b = np.hstack([b for b, _ in pairs]).astype(np.float32)
    a = np.vstack([a for _, a in pairs]).astype(np.float32)
    return Stack("layer", b, a, np.full(at, scale), tuple(parts))


def test_the_core_space_loses_nothing() -> None:
    dice = np.random.default_rng(0)
    shared = dice.standard_normal((30, 2))
    pairs = [
        (np.hstack([shared, dice.standard_normal((30, 1))]), dice.standard_normal((3, 20))) for _ in range(3)
    ]
    stack = stack_of(*pairs)
    space = core_space(stack)
    for core, (b, a) in zip(space.cores(), pairs, strict=True):
        back = space.back(stack, core)
        whole = 2.0 * b @ a
        assert np.linalg.norm(back.b @ back.a - whole) <= 1e-6 * np.linalg.norm(whole)
        assert np.linalg.norm(core) == pytest.approx(np.linalg.norm(whole), rel=1e-6)
    assert core.shape == (5, 9)  # two directions of B are everybody's


def test_election() -> None:
    one, two, three = np.array([3.0, 1.0, 0.0]), np.array([-1.0, 2.0, 4.0]), np.array([-1.0, 0.0, 1.0])
    assert elected([one, two, three], [1, 1, 1]).tolist() == [3.0, 3.0, 5.0]
    assert elected([one, two, three], [1, 1, 1], "frequency").tolist() == [-2.0, 3.0, 5.0]
    assert elected([one, two], [0.5, -0.5]).tolist() == [2.0, -1.0, -2.0]
    assert trimmed(np.array([[1.0, -4.0], [2.0, 0.5]]), 0.5).tolist() == [[0.0, -4.0], [2.0, 0.0]]


def test_lots_are_those_of_seed_layer_and_adapter() -> None:
    first = lots((40, 50), 0.3, 1, "layer", "digest")
    assert np.array_equal(first, lots((40, 50), 0.3, 1, "layer", "digest"))
    assert set(np.unique(first)) == {0.0, 1 / 0.3}
    assert (first > 0).mean() == pytest.approx(0.3, abs=0.04)
    for other in ((2, "layer", "digest"), (1, "other", "digest"), (1, "layer", "another")):
        assert not np.array_equal(first, lots((40, 50), 0.3, *other))
    # What the others bring makes the space larger, and changes no lot.
    assert np.array_equal(lots((60, 90), 0.3, 1, "layer", "digest")[:40, :50], first)
    # Known bytes: another generator, or another key, would be another method.
    assert np.flatnonzero(lots((1, 24), 0.5, 0, "layer", "digest")[0]).tolist() == KNOWN


KNOWN = [1, 3, 4, 6, 8, 9, 11, 17, 23]


@pytest.mark.parametrize("method", CORE)
def test_the_order_of_parents_changes_nothing(kitchen: Kitchen, pair: Pair, method: str) -> None:
    there = compose(["a:0.7", "b:0.3"], registry=kitchen.registry, method=method, rank="full")
    back = compose(["b:0.3", "a:0.7"], registry=kitchen.registry, method=method, rank="full", name="back")
    assert there.digest == back.digest


def test_what_ties_leaves_out_is_what_conflicts(kitchen: Kitchen, pair: Pair) -> None:
    """In the core space less is lost than factor by factor."""
    errors = {}
    for method in ("ties", "ties_core", "knots"):
        made = compose(["a:0.7", "b:0.3"], registry=kitchen.registry, method=method, name=method)
        assert made.recipe is not None
        errors[method] = made.recipe.relative_error
    assert errors["ties_core"] < errors["ties"]
    assert errors["knots"] < errors["ties"]
