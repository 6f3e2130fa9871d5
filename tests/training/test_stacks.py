"""Factors of all lanes at once, in two tensors each, and layers that are compiled: against one lane after another."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from lftreg.errors import Incompatible
from lftreg.models import line
from lftreg.models.base import find_base
from lftreg.models.fresh import checkpoint_gradients
from lftreg.models.load import Loaded, load_base
from lftreg.objectives import fused, make_objective
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import IGNORED, Row
from lftreg.training import flat, stacks
from lftreg.training.asks import Judge, Learn
from lftreg.training.checkpoint import Keeper
from lftreg.training.cohort import Member, Shared
from lftreg.training.lanes import Lane, lane_of
from lftreg.training.learner import Learner
from lftreg.training.processes import make_accelerator
from lftreg.training.settings import Settings
from lftreg.training.state import State

from .test_loop import adapted

SOME = Settings(lr=1e-2, batch_size=64)
ATTENTION = {"exclude_modules": ["gate_proj", "up_proj", "down_proj", "v_proj"]}
# The rank and the layers of each lane, and the lengths of its rows.
COMPANIES: dict[str, tuple[list[tuple[int, dict[str, Any]]], list[list[int]]]] = {
    "one": ([(4, {})], [[5, 9, 3]]),
    "even": ([(4, {}), (4, {}), (4, {})], [[5, 9], [7, 7], [4, 10]]),
    "of many ranks and layers": ([(4, {}), (2, {}), (9, ATTENTION)], [[5, 9], [7, 7], [4, 10]]),
    "uneven": ([(4, {}), (2, ATTENTION), (4, {})], [[5, 9], [7, 17, 2], [4]]),
}
# Those who end one after another.
LEAVING: list[tuple[int, dict[str, Any]]] = [(4, {}), (2, ATTENTION), (8, {})]


@pytest.fixture
def loaded(tiny_llama: Path) -> Loaded:
    return load_base(find_base(str(tiny_llama)))


def lanes(
    loaded: Loaded, wanted: Sequence[tuple[int, dict[str, Any]]], flat: bool, dropout: Sequence[float] = ()
) -> list[Lane]:
    made = []
    for seed, (rank, layers) in enumerate(wanted):
        model = adapted(loaded, seed, **{"lora_alpha": 3 * rank, **layers}, rank=rank)
        objective = make_objective(loaded.task, loaded.tokenizer, loaded.chat.stop_ids)
        assert isinstance(objective, Causal)
        lane = lane_of(model, objective=objective, accelerator=make_accelerator(), flat=flat)
        lane.dropout = dropout[seed] if dropout else 0.0
        with torch.no_grad():
            for name, tensor in lane.named.items():
                if "lora_B" in name:
                    tensor.copy_(
                        0.1 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
                    )
        made.append(lane)
    return made


def rows(lengths: Sequence[int], seed: int = 0) -> list[Row]:
    ids = [torch.randint(1, 90, (n,), generator=torch.Generator().manual_seed(seed + n)) for n in lengths]
    return [Row(tuple(one.tolist()), (IGNORED, *one.tolist()[1:])) for one in ids]


def trained(
    loaded: Loaded, company: str, *, stacked: bool, compiling: bool = False, steps: int = 3
) -> tuple[list[float], list[Lane], list[Learner]]:
    """The last losses, lanes and learners of some steps, and of a judgement before and after them."""
    wanted, lengths = COMPANIES[company]
    made = lanes(loaded, wanted, stacked)
    told: list[float] = []
    with Shared(loaded.model, stacked=stacked, compiling=compiling) as shared:
        for lane in made:
            shared.hook(lane)
        learners = [Learner(lane, SOME) for lane in made]
        for at in range(steps):
            judged = shared.answer(
                [(lane, Judge(rows(n, at))) for lane, n in zip(made, lengths, strict=True)]
            )
            told += [float(one.loss) for one in judged]
            members = [
                Member(lane, learner.step([rows(n, at)], 1e-2, lambda rows, checkpointing: None))
                for lane, learner, n in zip(made, learners, lengths, strict=True)
            ]
            ends = {id(member.lane): end for member, end in shared.run(members)}
            told += [figure for lane in made for figure in ends[id(lane)]]
    return told, made, learners


def away(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> float:
    assert ours.keys() == theirs.keys()
    apart = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs)
    return float((apart / sum(float(one.square().sum()) for one in theirs.values())) ** 0.5)


@pytest.mark.parametrize("company", COMPANIES)
@pytest.mark.parametrize("grouped", [False, True], ids=["masked", "grouped"])
def test_it_is_what_one_lane_after_another_is(
    company: str, grouped: bool, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "groups", lambda device, dtype: grouped)
    monkeypatch.setattr(stacks, "WIDEST", 0)
    plain_told, plain, _ = trained(loaded, company, stacked=False)
    told, fast, _ = trained(loaded, company, stacked=True)
    assert told == pytest.approx(plain_told, rel=1e-5)
    for ours, theirs in zip(fast, plain, strict=True):
        assert away(ours.factors(), theirs.factors()) < 1e-4


@pytest.mark.parametrize("grouped", [False, True], ids=["masked", "grouped"])
@pytest.mark.parametrize("lengths", [[[5, 9], [7, 17, 2], [4]], [[6], [6], [6]]], ids=["uneven", "even"])
def test_whoever_has_ended_leaves_its_place_empty(
    lengths: list[list[int]], grouped: bool, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stacks, "groups", lambda device, dtype: grouped)
    monkeypatch.setattr(stacks, "WIDEST", 0 if grouped else stacks.WIDEST)
    found = []
    for stacked in (False, True):
        made = lanes(loaded, LEAVING, stacked)
        with Shared(loaded.model, stacked=stacked) as shared:
            leave(shared, made, lengths)
        found.append([lane.factors() for lane in made])
    for ours, theirs in zip(*found, strict=True):
        assert away(ours, theirs) < 1e-4


def leave(shared: Shared, made: list[Lane], lengths: list[list[int]]) -> None:
    """A step of three lanes, two of the last two, and one of the last."""
    for lane in made:
        shared.hook(lane)
    learners = [Learner(lane, SOME) for lane in made]
    for start in (0, 1, 1, 2):
        some = zip(learners[start:], lengths[start:], strict=True)
        steps = [one.step([rows(n, start)], 1e-2, lambda *told: None) for one, n in some]
        list(shared.run([Member(*pair) for pair in zip(made[start:], steps, strict=True)]))


def test_the_optimizer_remembers_the_same_by_name(loaded: Loaded) -> None:
    """Of each A and B, whether they are tensors of their own or parts of two."""
    _, _, plain = trained(loaded, "one", stacked=False)
    _, _, flat = trained(loaded, "one", stacked=True)
    ours, theirs = (learner[0].optimizer.state_dict()["state"] for learner in (flat, plain))
    assert ours.keys() == theirs.keys() and len(ours) == len(plain[0].named)
    for number, moments in theirs.items():
        assert float(ours[number]["step"]) == float(moments["step"]) == 3
        for key in ("exp_avg", "exp_avg_sq"):
            torch.testing.assert_close(ours[number][key], moments[key], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("before", [False, True], ids=["plain to flat", "flat to plain"])
def test_a_checkpoint_goes_on_in_the_other_way(before: bool, loaded: Loaded, tmp_path: Path) -> None:
    _, _, learners = trained(loaded, "one", stacked=before, steps=2)
    factors = learners[0].subject.factors()
    Keeper(tmp_path).save(learners[0], State(micro=64, checkpointing=False), factors)
    for other in (before, not before):
        (lane,) = lanes(loaded, [(4, {})], other)
        learner = Learner(lane, SOME)
        assert Keeper(tmp_path).restore(learner) is not None
        with Shared(loaded.model, stacked=other) as shared:
            list(shared.run([Member(lane, learner.step([rows([6, 4])], 1e-2, lambda *told: None))]))
        if other is before:
            wanted = lane.factors()
    assert away(lane.factors(), wanted) < 1e-5
    assert away(wanted, factors) > 1e-3  # it has learned something


@contextmanager
def traced(monkeypatch: pytest.MonkeyPatch, backend: Any = "aot_eager") -> Iterator[None]:
    """Layers are traced, and their gradients too, as for a GPU; without a compiler of C++ behind."""
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    fused._function.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(torch, "compile", partial(torch.compile, backend=backend))
        yield
    torch._dynamo.reset()
    fused._function.cache_clear()


@pytest.mark.parametrize("company", ["one", "even", "uneven"])
def test_compiled_layers_give_the_same(company: str, loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    eager_told, eager, _ = trained(loaded, company, stacked=True)
    with traced(monkeypatch):
        told, compiled, _ = trained(loaded, company, stacked=True, compiling=True)
        counters = copy.deepcopy(torch._dynamo.utils.counters)
    assert told == pytest.approx(eager_told, rel=1e-5)
    for ours, theirs in zip(compiled, eager, strict=True):
        assert away(ours.factors(), theirs.factors()) < 1e-4
    assert counters["stats"]["unique_graphs"] >= 1
    assert not counters["graph_break"]
    assert not any("forward" in layer.__dict__ for layer in loaded.model.model.layers)


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[[5, 9], [7, 17, 2], [4]], [[6], [6], [6]]], ids=["uneven", "even"])
def test_code_is_for_rows_of_any_lengths_and_for_whoever_stays(
    lengths: list[list[int]], loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def at_once(query: Any, key: Any, value: Any, *rest: Any) -> Any:
        """One code for all rows, as a GPU's kernel is. What it gives is not looked at."""
        shared = query.shape[1] // key.shape[1]
        key, value = (one.repeat_interleave(shared, dim=1) for one in (key, value))
        return torch.nn.functional.scaled_dot_product_attention(query, key, value).transpose(1, 2)

    made, graphs = lanes(loaded, LEAVING, True), []
    with traced(monkeypatch):
        shared = Shared(loaded.model, stacked=True, compiling=True)
        monkeypatch.setattr(line, "_one_by_one", at_once)  # once rows on a line have been tried
        with shared:
            for more in range(3):
                leave(shared, made, [[one + more for one in some] for some in lengths])
                graphs.append(torch._dynamo.utils.counters["stats"]["unique_graphs"])
    assert graphs[0] > 0 and graphs == graphs[:1] * 3


def test_what_cannot_be_compiled_runs_as_it_is_written(
    loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("there is no compiler")

    eager_told, _, _ = trained(loaded, "one", stacked=True)
    with traced(monkeypatch, broken), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        told, _, _ = trained(loaded, "one", stacked=True, compiling=True)
    assert told == eager_told
    assert any("could not be compiled" in str(one.message) for one in heard)


def test_noise_is_drawn_once_where_compiling_fails(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("there is no compiler")

    monkeypatch.setattr(f"{__name__}.lane_of", partial(lane_of, noise=5.0))
    eager_told, _, _ = trained(loaded, "one", stacked=True)
    with traced(monkeypatch, broken), warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        told, _, _ = trained(loaded, "one", stacked=True, compiling=True)
    assert told == eager_told
    assert any("there is no compiler" in str(one.message) for one in heard)


@pytest.mark.parametrize("stacked", [False, True], ids=["one after another", "stacked"])
def test_memory_that_runs_out_for_one_lane_teaches_no_other_twice(
    stacked: bool, loaded: Loaded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second lane's gradients find no room, after the first lane's did."""
    wanted, _, _ = trained(loaded, "even", stacked=stacked, steps=1)
    asked = []

    def once_too_much(whole: torch.Tensor, real: Any = flat._gradient) -> torch.Tensor:
        asked.append(whole)
        if len(asked) == 3:
            raise torch.OutOfMemoryError("no room")
        return real(whole)

    monkeypatch.setattr(flat, "_gradient", once_too_much)
    if not stacked:
        monkeypatch.setattr(
            f"{__name__}.lanes", lambda loaded, wanted, flat, real=lanes: real(loaded, wanted, True)
        )
    told, _, _ = trained(loaded, "even", stacked=stacked, steps=1)
    assert len(asked) > 3
    assert told == pytest.approx(wanted, rel=1e-4)


def test_a_layer_that_is_not_given_every_token_is_refused(loaded: Loaded) -> None:
    made = lanes(loaded, COMPANIES["even"][0], True)
    halved = loaded.model.model.layers[0].mlp.gate_proj.register_forward_pre_hook(
        lambda module, inputs: (inputs[0][:, ::2],)
    )
    with Shared(loaded.model, stacked=True) as shared, pytest.raises(Incompatible, match="every token"):
        for lane in made:
            shared.hook(lane)
        try:
            shared.answer([(lane, Learn(rows([6, 8]), 12)) for lane in made])
        finally:
            halved.remove()


def test_a_part_of_the_base_that_no_gradient_comes_to_is_named(loaded: Loaded) -> None:
    """A layer of the last block's MLP gives nothing on: all of its factors stay as they are."""
    (lane,) = lanes(loaded, [(4, {})], True)
    last = loaded.model.model.layers[-1].mlp
    cut = last.register_forward_hook(lambda module, inputs, output: output.detach() * 0)
    try:
        with Shared(loaded.model, stacked=True) as shared:
            shared.hook(lane)
            shared.answer([(lane, Learn(rows([6, 8]), 12))])
    finally:
        cut.remove()
    missing = {name.partition(".lora_")[0].rpartition(".")[2] for name in lane.unreached()}
    assert missing == {"gate_proj", "up_proj", "down_proj"}
    assert all(f"layers.{len(loaded.model.model.layers) - 1}." in name for name in lane.unreached())


def test_a_lane_speaks_between_compiled_steps(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the attention that rows on a line do not use, and by code that is not compiled."""
    ids = torch.tensor([[5, 7, 9, 11]])

    def told(shared: Shared, lane: Lane) -> list[torch.Tensor]:
        learner, said = Learner(lane, SOME), []
        for at in range(2):
            list(shared.run([Member(lane, learner.step([rows([6, 4], at)], 1e-2, lambda *told: None))]))
            with shared.speaking(lane), torch.no_grad():
                said.append(loaded.model(ids).logits)
        return said

    (plain,) = lanes(loaded, [(4, {})], True)
    with Shared(loaded.model, stacked=True) as shared:
        wanted = told(shared, plain)
    (lane,) = lanes(loaded, [(4, {})], True)
    with traced(monkeypatch), Shared(loaded.model, stacked=True, compiling=True) as shared:
        shared.hook(lane)
        said = told(shared, lane)
    for ours, theirs in zip(said, wanted, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)
    assert not torch.equal(wanted[0], wanted[1])


def learned(loaded: Loaded, dropout: Sequence[float], seed: int) -> list[tuple[float, torch.Tensor]]:
    """Loss and gradient of each lane of an uneven company, after one pass."""
    wanted, lengths = COMPANIES["uneven"]
    made = lanes(loaded, wanted, True, dropout)
    with Shared(loaded.model, stacked=True) as shared:
        for lane in made:
            shared.hook(lane)
        torch.manual_seed(seed)
        asks = [Learn(rows(n), sum(n) - len(n)) for n in lengths]
        losses = shared.answer(list(zip(made, asks, strict=True)))
    flats = [lane.flat for lane in made]
    gradients = [torch.cat([one.a.grad.flatten(), one.b.grad.flatten()]) for one in flats]  # type: ignore[union-attr]
    return [(float(loss), gradient) for loss, gradient in zip(losses, gradients, strict=True)]


def test_dropout_is_each_lanes_own(loaded: Loaded) -> None:
    """Who drops nothing learns what it learns beside others that drop nothing; the mean over draws is the loss."""
    none = learned(loaded, (0.0, 0.0, 0.0), 0)
    some = [learned(loaded, (0.0, 0.3, 0.0), seed) for seed in range(40)]
    for number in (0, 2):
        for one in some:
            assert one[number][0] == pytest.approx(none[number][0], rel=1e-5)
            torch.testing.assert_close(one[number][1], none[number][1], rtol=1e-3, atol=1e-6)
    losses = torch.tensor([one[1][0] for one in some])
    assert len(set(losses.tolist())) == 40
    assert abs(losses.mean() - none[1][0]) < 4 * losses.std() / 40**0.5 + 0.02 * none[1][0]


def test_what_is_computed_again_drops_the_same(loaded: Loaded) -> None:
    kept = learned(loaded, (0.2, 0.3, 0.1), 5)
    checkpoint_gradients(loaded.model)
    again = learned(loaded, (0.2, 0.3, 0.1), 5)
    for (loss, gradient), (other, others) in zip(kept, again, strict=True):
        assert loss == pytest.approx(other, rel=1e-6)
        torch.testing.assert_close(gradient, others, rtol=1e-4, atol=1e-6)


def test_dropout_is_compiled(loaded: Loaded, monkeypatch: pytest.MonkeyPatch) -> None:
    made = lanes(loaded, [(4, {}), (4, {})], True, (0.0, 0.2))
    with traced(monkeypatch), Shared(loaded.model, stacked=True, compiling=True) as shared:
        for lane in made:
            shared.hook(lane)
        asks = [(lane, Learn(rows([6, 4 + at]), 9)) for at, lane in enumerate(made)]
        first, second = (shared.answer(asks) for _ in range(2))
        assert not torch._dynamo.utils.counters["graph_break"]
    assert float(first[0]) == pytest.approx(float(second[0]), rel=1e-6)
    assert float(first[1]) != pytest.approx(float(second[1]), rel=1e-6)
