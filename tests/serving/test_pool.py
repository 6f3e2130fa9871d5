"""Slots of a pool and places of a cache, above all after something has gone wrong in them."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")

from lftreg.models.layers import seats_of  # noqa: E402
from lftreg.serving.cache import Places  # noqa: E402
from lftreg.serving.pool import Parts, Pool  # noqa: E402


class Twins(torch.nn.Module):
    """Two layers that read one input."""

    def __init__(self) -> None:
        super().__init__()
        self.one = torch.nn.Linear(6, 5, bias=False)
        self.two = torch.nn.Linear(6, 4, bias=False)

    def forward(self, x: Any) -> Any:
        return torch.cat((self.one(x), self.two(x)), -1)


def factors(seed: int, outputs: int, rank: int = 2) -> tuple[Any, Any]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(rank, 6, generator=draw), torch.randn(outputs, rank, generator=draw)


def both(seed: int) -> dict[str, tuple[Any, Any]]:
    return {"one": factors(seed, 5), "two": factors(seed + 100, 4)}


@pytest.fixture
def made() -> tuple[Twins, Pool]:
    torch.manual_seed(0)
    model = Twins()
    return model, Pool([tuple(seats_of(model).values())], 6, 4, 6, torch.zeros(0))


def added(model: Twins, pool: Pool, rows: list[Parts], x: Any) -> Any:
    """What the pool adds to the model's own output."""
    with torch.inference_mode():
        pool.work = None
        bare = model(x)
        pool.work = pool.arrange(rows)
        return model(x) - bare


def expected(fills: dict[int, dict[str, tuple[Any, Any]]], rows: list[Parts], x: Any) -> Any:
    out = torch.zeros(len(rows), 9)
    for row, parts in enumerate(rows):
        for slot, weight in parts:
            (a, b), (c, d) = fills[slot]["one"], fills[slot]["two"]
            out[row] += weight * torch.cat((x[row] @ a.T @ b.T, x[row] @ c.T @ d.T))
    return out


def test_a_slot_whose_filling_has_failed_leaves_nothing_to_the_next(made: tuple[Twins, Pool]) -> None:
    """A first layer is filled, a second one fails; then the slot gets an adapter that changes neither."""
    model, pool = made
    broken = both(1)
    broken["two"] = factors(1, 3)  # of another base
    with pytest.raises(RuntimeError):
        pool.fill(0, broken)
    pool.fill(0, {})
    pool.fill(1, both(2))
    x = torch.randn(2, 6)
    assert added(model, pool, [((0, 1.0),), ((1, 1.0),)], x)[0].abs().max() == 0


def test_a_copy_that_has_failed_is_made_again(
    made: tuple[Twins, Pool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a place of the workspace held is gone once another has been begun to be copied there."""
    model, pool = made
    fills = {slot: both(slot) for slot in range(6)}
    for slot, one in fills.items():
        pool.fill(slot, one)
    x = torch.randn(3, 6)
    first: list[Parts] = [((0, 1.0),), ((1, 1.0),), ((2, 1.0),)]
    added(model, pool, first, x)
    (group,) = pool._groups
    copy = group.copy

    def fail(slot: int, at: int) -> None:
        copy(slot, at)
        raise RuntimeError("out of memory")

    monkeypatch.setattr(group, "copy", fail)
    with pytest.raises(RuntimeError):
        pool.arrange([((3, 1.0),), ((4, 1.0),), ((5, 1.0),)])
    monkeypatch.undo()
    assert torch.allclose(added(model, pool, first, x), expected(fills, first, x), atol=1e-5)


def test_an_adapter_that_overflows_spoils_no_row_of_another(made: tuple[Twins, Pool]) -> None:
    model, pool = made
    fills = {slot: both(slot) for slot in range(3)}
    fills[2] = {path: (a * 3e38, b * 3e38) for path, (a, b) in fills[2].items()}
    for slot, one in fills.items():
        pool.fill(slot, one)
    rows: list[Parts] = [((0, 1.0),), ((0, 1.0),), ((1, 1.0),), ((2, 1.0),)]
    x = torch.randn(4, 6)
    got = added(model, pool, rows, x)
    assert torch.allclose(got[:3], expected(fills, rows[:3], x), atol=1e-5)
    assert not got[3].isfinite().all()


def test_layers_count_as_new_once_they_have_all_their_slots(made: tuple[Twins, Pool]) -> None:
    """Whoever saw the count before has not recorded a pass that lacks them."""
    _, pool = made
    seen = []

    class Like:
        def new_zeros(self, *shape: int) -> Any:
            seen.append(pool.grown)
            return torch.zeros(*shape)

    (group,) = pool._groups
    group.allocate(Like())  # type: ignore[arg-type]
    assert set(seen) == {0}
    assert pool.grown == 1


def test_inputs_of_another_precision(made: tuple[Twins, Pool]) -> None:
    """A layer that a quantised base keeps in float32, say."""
    model, pool = made
    fills = {0: both(0)}
    pool.fill(0, fills[0])
    model.double()
    x = torch.randn(1, 6)
    for work in (pool.single(((0, 1.0),)), pool.arrange([((0, 0.5),)])):
        with torch.inference_mode():
            pool.work = None
            bare = model(x.double())
            pool.work = work
            assert not torch.equal(model(x.double()), bare)


def test_a_cache_that_could_not_grow_grows_later(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(2, 1000)
    draw = torch.randn(1, 1, 100, 3)
    places.reading(0, 0, 100)
    for layer in range(2):
        places.update(draw, draw, layer)
    made, left = places._made, [1]

    def fail(*given: Any) -> Any:
        if not left:
            raise RuntimeError("out of memory")
        left.pop()
        return made(*given)

    monkeypatch.setattr(places, "_made", fail)
    with pytest.raises(RuntimeError):
        places.reading(0, 100, 100)
    monkeypatch.undo()
    places.reading(0, 100, 100)
    for layer in range(2):
        keys, values = places.update(draw, draw, layer)
        assert keys.shape == values.shape == (1, 1, 200, 3)
        assert torch.equal(keys, torch.cat((draw, draw), 2))


def test_a_layer_that_got_keys_and_no_values_gets_both_later(monkeypatch: pytest.MonkeyPatch) -> None:
    places = Places(1, 100)
    draw = torch.randn(1, 1, 4, 3)
    places.reading(0, 0, 4)
    made, left = places._made, [1]

    def fail(*given: Any) -> Any:
        if not left:
            raise RuntimeError("out of memory")
        left.pop()
        return made(*given)

    monkeypatch.setattr(places, "_made", fail)
    with pytest.raises(RuntimeError):
        places.update(draw, draw, 0)
    monkeypatch.undo()
    assert torch.equal(places.update(draw, draw, 0)[1], draw)
