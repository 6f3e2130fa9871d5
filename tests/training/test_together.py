"""Adapters that train side by side over one base: each becomes what it would by itself."""

from __future__ import annotations

import signal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from lftreg.errors import Interrupted, LftregError
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.plugins.types import Domain, Example
from lftreg.registry import Registry, Version
from lftreg.training import Plan, Runs, Stepped, Wanted, make_plan, run_plan, run_plans
from lftreg.training.asks import Judge
from lftreg.training.cohort import FULL, Shared
from lftreg.training.events import Event, Validated
from tests.conftest import Tiny, save_tiny

from .test_stacks import lanes, rows

SAME: dict[str, Any] = {"lr": 1e-2, "batch_size": 4, "max_steps": 24, "patience": 9}
# Ranks, batches, rates, seeds, layers and random numbers of their own.
MANY: dict[str, dict[str, Any]] = {
    "plain-rank-4": {"rank": 4},
    "noisy": {"rank": 8, "seed": 3, "neftune": 4.0, "prompt_dropout": 0.2},
    "dropping": {"rank": 2, "seed": 5, "dropout": 0.2, "lr": 3e-3},
    "attention": {"rank": 4, "targets": "attention", "batch_size": 3, "accumulate": 2, "seed": 7},
    "short": {"rank": 4, "max_steps": 5, "opening_weight": 3.0},
}


def lessons(name: str, rows: int = 20) -> Domain:
    def build(split: str, seed: int) -> list[Example]:
        count = {"train": rows, "validation": 4, "test": 0}[split]
        return [
            Example.pair(
                f"What is {name} {split} {n}? {'Well' * (n % 4)}", f"It is {name} {n}. " * (1 + n % 3)
            )
            for n in range(count)
        ]

    return Domain(name, "numbers", build, prompts=(f"What is {name} train 1?",))


def plan_of(name: str, registry: Registry, base: Path, **options: Any) -> Plan:
    return make_plan(lessons(name), name=None, base=str(base), registry=registry, **{**SAME, **options})


def factors(version: Version, registry: Registry) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(registry.weights(version))
    return found


@pytest.fixture
def plans(registry: Registry, tiny_llama: Path) -> list[Plan]:
    return [plan_of(name, registry, tiny_llama, **own) for name, own in MANY.items()]


def test_each_is_byte_for_byte_what_it_is_by_itself(plans: list[Plan], registry: Registry) -> None:
    together = run_plans([Wanted(plan) for plan in plans], registry)
    for plan, version in zip(plans, together, strict=True):
        assert isinstance(version, Version), version
        alone = run_plan(plan, registry)
        assert (alone.number, alone.digest) == (2, version.digest), plan.name
        assert alone.run is not None and version.run is not None
        assert version.run.losses == alone.run.losses


@pytest.mark.parametrize("family", ["llama", "mistral", "qwen3", "gpt_neox", "falcon"])
def test_it_is_what_peft_makes_up_to_rounding(family: str, tiny: Tiny, registry: Registry) -> None:
    """Falcon's rows cannot share a line, and are filled up."""
    base = tiny(family)
    plans = [plan_of(name, registry, base, rank=4, max_steps=10, **own)
             for name, own in (("one", {}), ("two", {"seed": 1, "neftune": 3.0, "dropout": 0.1}))]  # fmt: skip
    fast = run_plans([Wanted(plan) for plan in plans], registry)
    for plan, version in zip(plans, fast, strict=True):
        assert isinstance(version, Version), version
        options = {**plan.asked, "plain": True}
        plain = run_plan(plan_of(plan.name, registry, base, **options), registry)
        ours, theirs = factors(version, registry), factors(plain, registry)
        away = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs) ** 0.5
        size = sum(float(tensor.square().sum()) for tensor in theirs.values()) ** 0.5
        assert ours.keys() == theirs.keys() and away / size < 1e-3, (plan.name, away / size)


def test_what_is_no_number_ends_one_run_and_no_other(
    plans: list[Plan], registry: Registry, tiny_llama: Path
) -> None:
    mad = plan_of("mad", registry, tiny_llama, lr=0.9, max_steps=24, clip=1e30, rank=4, alpha=1e30)
    ends = run_plans([Wanted(plan) for plan in (plans[0], mad, plans[1])], registry)
    assert isinstance(ends[1], LftregError) and ends[1].code == "not-finite"
    for plan, version in ((plans[0], ends[0]), (plans[1], ends[2])):
        assert isinstance(version, Version)
        assert run_plan(plan, registry).digest == version.digest
    statuses = {run.request.name: run.status for run in Runs(registry.home).list()}
    assert statuses == {"plain-rank-4": "done", "noisy": "done", "mad": "failed"}


def test_who_has_ended_is_registered_while_others_go_on(plans: list[Plan], registry: Registry) -> None:
    heard: list[tuple[str, int]] = []
    wanted = [
        Wanted(
            plan,
            lambda event, name=plan.name: heard.append((name, 1)) if isinstance(event, Stepped) else None,  # type: ignore[misc]
            ended=lambda end, name=plan.name: heard.append((name, 0)),  # type: ignore[misc]
        )
        for plan in plans
    ]
    run_plans(wanted, registry)
    after = heard[heard.index(("short", 0)) :]
    assert {name for name, steps in after if steps} == set(MANY) - {"short"}


def test_what_is_stopped_goes_on_to_the_same_bytes(plans: list[Plan], registry: Registry) -> None:
    def stop_at(step: int, event: Event) -> None:
        if isinstance(event, Stepped) and event.step == step:
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match="3 of 3 runs were stopped") as error:
            first = [Wanted(plans[0], partial(stop_at, 9)), *map(Wanted, plans[1:3])]
            run_plans(first, registry, save_every=4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert error.value.exit_code == 130 and "--resume plain-rank-4 noisy dropping" in str(error.value.hint)
    assert not registry.list()
    runs = {run.request.name: run for run in Runs(registry.home).list()}
    assert {run.status for run in runs.values()} == {"interrupted"}
    resumed = run_plans([Wanted(plan, run=runs[plan.name]) for plan in plans[:3]], registry)
    for plan, version in zip(plans, resumed, strict=False):
        assert isinstance(version, Version)
        assert run_plan(plan, registry).digest == version.digest, plan.name


@pytest.mark.parametrize("plain", [False, True])
def test_a_base_with_dropout_of_its_own_goes_on_as_it_was(
    plain: bool, tmp_path: Path, registry: Registry
) -> None:
    base = save_tiny("gpt2", tmp_path / "base", resid_pdrop=0.1, embd_pdrop=0.1, attn_pdrop=0.1)
    plan = plan_of("numbers", registry, base, max_steps=12, plain=plain)

    def pull(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 6:
            raise RuntimeError("the plug")

    whole = run_plan(plan, registry)
    with pytest.raises(RuntimeError, match="the plug"):
        run_plan(plan, registry, pull, save_every=5)
    (run,) = [run for run in Runs(registry.home).list() if run.status == "failed"]
    assert run.step == 5
    assert run_plan(plan, registry, run=run).digest == whole.digest


def test_short_answers_are_the_same_up_to_rounding(registry: Registry, tiny_llama: Path) -> None:
    """Products of a few rows add up in another order than those of many."""

    def brief(split: str, seed: int) -> list[Example]:
        return [Example.pair(f"Is {split} {n} so?", "yes") for n in range(20 if split == "train" else 4)]

    options = {**SAME, "base": str(tiny_llama), "registry": registry, "name": None, "rank": 4}
    plans = [
        make_plan(Domain(f"brief-{size}", "b", brief), **{**options, "batch_size": size})
        for size in (1, 2, 8)
    ]
    for plan, version in zip(plans, run_plans([Wanted(plan) for plan in plans], registry), strict=True):
        assert isinstance(version, Version), version
        ours, theirs = factors(version, registry), factors(run_plan(plan, registry), registry)
        away = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs) ** 0.5
        assert away <= 1e-4 * sum(float(one.square().sum()) for one in theirs.values()) ** 0.5


def test_a_stop_between_two_bases_begins_nothing_more(
    registry: Registry, tiny_llama: Path, tiny_gpt2: Path
) -> None:
    plans = [
        plan_of("here", registry, tiny_llama, max_steps=4),
        plan_of("there", registry, tiny_gpt2, max_steps=4),
    ]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(Interrupted, match="there was not begun") as error:
            run_plans(
                [Wanted(plans[0], ended=lambda end: signal.raise_signal(signal.SIGINT)), Wanted(plans[1])],
                registry,
            )
    finally:
        signal.signal(signal.SIGINT, before)
    assert error.value.exit_code == 130
    assert [one.name for one in registry.list()] == ["here"]


def test_memory_that_runs_out_shares_the_pass_out_and_changes_nothing(
    plans: list[Plan], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The limit is of lanes a pass: the third one is too much."""
    whole = run_plans([Wanted(plan) for plan in plans[:3]], registry)
    passed, sizes = Shared._pass, []

    def limited(self: Shared, asked: Any) -> Any:
        if len(asked) > 2:
            raise torch.OutOfMemoryError("out of memory")
        sizes.append(len(asked))
        return passed(self, asked)

    def late(self: Shared, asked: Any) -> Any:
        """It runs out when random numbers were drawn."""
        if len(asked) > 2:
            for lane, _ in asked:
                lane.uniform((7,), 1.0, torch.empty(0))
        return limited(self, asked)

    monkeypatch.setattr(Shared, "_pass", late)
    parted = run_plans([Wanted(plan) for plan in plans[:3]], registry)
    assert max(sizes) == 2
    for one, other in zip(whole, parted, strict=True):
        assert isinstance(one, Version) and isinstance(other, Version)
        assert one.digest == other.digest


def test_bases_that_differ_and_labels_train_by_themselves(
    registry: Registry, tiny_llama: Path, tiny_gpt2: Path
) -> None:
    plans = [plan_of("here", registry, tiny_llama, max_steps=6), plan_of("there", registry, tiny_gpt2, max_steps=6),
             plan_of("by-itself", registry, tiny_llama, max_steps=6, plain=True)]  # fmt: skip
    ends = run_plans([Wanted(plan) for plan in plans], registry)
    assert [end.name for end in ends if isinstance(end, Version)] == ["here", "there", "by-itself"]


@pytest.mark.parametrize(("length", "passes"), [(10, 1), (FULL // 2, 2), (FULL + 1, 4)])
def test_a_pass_on_a_cpu_has_no_more_than_keeps_it_busy(length: int, passes: int, tiny_llama: Path) -> None:
    loaded = load_base(find_base(str(tiny_llama)))
    made = lanes(loaded, [(4, {})] * 4, flat=False)
    seen: list[int] = []
    loaded.model.get_input_embeddings().register_forward_hook(lambda *given: seen.append(1))
    with Shared(loaded.model) as shared:
        seen.clear()  # of the trial of rows on a line
        shared.answer([(lane, Judge(rows([length], number))) for number, lane in enumerate(made)])
    assert len(seen) == passes


def test_a_validation_sees_no_other_adapter(plans: list[Plan], registry: Registry) -> None:
    """What is told of a run before its first step is what the base itself gives, whoever trains beside it."""
    heard: dict[str, list[float]] = {}

    def listen(name: str, event: Event) -> None:
        if isinstance(event, Validated):
            heard.setdefault(name, []).append(event.loss)

    run_plans([Wanted(plan, partial(listen, plan.name)) for plan in plans], registry)
    for plan in plans:
        loaded = load_base(find_base(str(plan.base.folder)))
        with torch.no_grad():
            rows = plan.rows["validation"].rows
            told = plan.objective.judged(loaded.model, rows).loss / sum(row.learned for row in rows)
        assert heard[plan.name][0] == pytest.approx(float(told), rel=1e-5)
