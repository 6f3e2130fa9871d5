"""What a run will take: memory, time and money, foretold from the plan alone."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from lftreg.budget import memory, time
from lftreg.budget.devices import Device, find
from lftreg.errors import LftregError, NotFound
from lftreg.models.tasks import CAUSAL
from lftreg.objectives.causal import hidden_of
from lftreg.objectives.fused import fused_loss, is_plain
from lftreg.objectives.layout import lay_out, pack
from lftreg.objectives.rows import IGNORED, Row
from lftreg.training.compiling import worth_compiling, would_compile
from lftreg.training.grouping import shared_base
from lftreg.training.loop import validation_interval
from lftreg.training.plan import Plan

# What a GPU keeps of a step, of what PEFT's model would keep: no casts of inputs for the factors, and of compiled
# layers what is not computed again on the way back. Measured on one H200, bases of 1 and 8 billion parameters, 2,000
# to 33,000 tokens a step: 0.88 to 0.92, and 0.66 to 0.69 (0.78 at 2,000).
STACKED, COMPILED = 0.9, 0.68


@dataclass(frozen=True, slots=True)
class Forecast:
    """`device` is None where nothing is known of this machine's GPU; what cannot be foretold is None, `why` says so."""

    device: Device | None
    memory: memory.Memory | None = None
    cost: time.Cost | None = None
    why: str | None = None

    @property
    def fits(self) -> bool | None:
        if self.memory is None or self.device is None:
            return None
        return memory.fits(self.memory, self.device)


def foresee(
    plan: Plan, device: str | None = None, *, price_per_hour: float | None = None, processes: int = 1
) -> Forecast:
    """The worst step of a plan, and all of its steps, on a device by name, or on this machine.

    Reads no weights and needs no GPU. Raises NotFound for a device that is named and not known.
    """
    try:
        found = find(device)
    except NotFound as error:
        if device is not None:
            raise
        return Forecast(None, why=error.message)
    dtype = plan.settings.dtype
    if dtype == "auto":
        dtype = "bfloat16" if found.gpu else "float32"
    cost = _cost(plan, found, dtype, price_per_hour, processes)
    try:
        return Forecast(found, _memory(plan, found, dtype, processes, device is None), cost)
    except LftregError as error:
        return Forecast(found, None, cost, error.message)


def _memory(plan: Plan, device: Device, dtype: str, processes: int, here: bool) -> memory.Memory:
    settings, objective = plan.settings, plan.objective
    recipe = memory.Recipe(
        plan.base.config,
        plan.targets,
        settings.rank,
        task=plan.task,
        dtype=dtype,
        quantize=settings.quantize,
        gradient_checkpointing=settings.gradient_checkpointing,
        dropout=settings.dropout,
        labels=len(plan.labels),
        code=plan.base.folder if plan.base.code else None,
    )
    rows = -(-settings.batch_size // processes)
    worst = longest(objective.each_pass(plan.rows["train"].rows, settings.seed), rows)
    held_out = longest(objective.held_out(plan.rows["validation"].rows), 2 * rows)
    shared = processes == 1 and shared_base(plan) is not None
    if shared:
        worst, held_out = even(worst), even(held_out)
    return memory.estimate(
        recipe,
        lambda model: _loss_in_parts(plan, model, worst) if shared else objective.loss_sum(model, worst),
        validation=lambda model: objective.loss_sum(model, held_out),
        gpu=device.gpu,
        kept=_kept(plan, here) if shared and device.gpu else 1.0,
    )


def _kept(plan: Plan, here: bool) -> float:
    """What is kept of a step's activations on this machine's GPU, or on one that is taken to have a compiler."""
    import torch

    if plan.settings.gradient_checkpointing or plan.settings.dropout:
        return 1.0
    compiled = worth_compiling([plan], torch.device("cuda")) if here else would_compile([plan])
    return COMPILED if compiled else STACKED


def _loss_in_parts(plan: Plan, model: Any, rows: Sequence[Row]) -> Any:
    """The loss as runs that share a base take it: the logits of some tokens at a time."""
    import torch

    layout = lay_out(rows, model.device)
    found = hidden_of(model, layout)
    if found is None or not is_plain(found[1]):
        return plan.objective.loss_sum(model, rows)
    counts = torch.ones(len(layout.labels), device=layout.labels.device)
    return fused_loss(*found, layout.labels, counts)[0]


def _cost(plan: Plan, device: Device, dtype: str, price: float | None, processes: int) -> time.Cost:
    settings = plan.settings
    assert settings.max_steps is not None
    train, validation = plan.rows["train"].rows, plan.rows["validation"].rows
    steps_a_pass = settings.steps_a_pass(len(train))
    passes = settings.max_steps / steps_a_pass
    validations = 1 + settings.max_steps // validation_interval(settings.max_steps, steps_a_pass)
    foretold = time.estimate(
        time.work_of(plan.modules, plan.base.config, plan.targets, settings.rank),
        device,
        tokens=round(passes * _tokens(plan, train)),
        length=sum(len(row.ids) for row in train) / len(train),
        batches=settings.max_steps * settings.accumulate,
        learned=round(passes * sum(row.learned for row in train)) if plan.task is CAUSAL else None,
        validated=validations * sum(len(row.ids) for row in validation),
        dtype=dtype,
        gradient_checkpointing=settings.gradient_checkpointing,
        price_per_hour=price,
    )
    return replace(
        foretold, seconds=foretold.seconds / processes
    )  # so many devices, each for so much less time


def money(seconds: float, price_per_hour: float | None, processes: float = 1) -> dict[str, Any] | None:
    """What a run has cost: US dollars, by the price that is given or by that of this machine's GPU; or None."""
    import torch

    name = "cpu"
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        with contextlib.suppress(NotFound):
            price_per_hour = find(None).price if price_per_hour is None else price_per_hour
    if price_per_hour is None:
        return None
    usd = price_per_hour * processes * seconds / 3600
    return {"usd": usd, "price_per_hour": price_per_hour, "device": name}


def longest(rows: Sequence[Row], count: int) -> list[Row]:
    """The rows that a batch is largest with."""
    return sorted(rows, key=lambda row: -row.length)[:count]


def even(rows: Sequence[Row]) -> list[Row]:
    """Rows of one length with as many tokens together: what rows on one line take, which are not filled up."""
    ids, labels = [id_ for row in rows for id_ in row.ids], [label for row in rows for label in row.labels]
    size = -(-len(ids) // len(rows)) if rows else 0
    cut = [slice(at, at + size) for at in range(0, len(ids), size)] if size else []
    made = [Row(tuple(ids[one]), tuple(labels[one])) for one in cut]
    return [Row(row.ids, (IGNORED, *row.labels[1:])) for row in made]


def _tokens(plan: Plan, rows: Sequence[Row]) -> int:
    """The tokens of a pass; rows of like length go together, so little is filled up."""
    if plan.settings.packing:
        room = max(row.length for row in rows)
        return len(pack(rows, room)) * room
    return sum(len(row.ids) for row in rows)


def as_document(found: Forecast) -> dict[str, Any]:
    """A forecast for scripts: bytes, seconds, US dollars."""
    taken, cost = found.memory, found.cost
    return {
        "device": None if found.device is None else found.device.name,
        "memory": None
        if taken is None
        else {
            "peak": taken.peak, "base": taken.base, "adapter": taken.adapter, "optimizer": taken.optimizer,
            "gradients": taken.gradients, "activations": taken.activations, "workspace": taken.workspace,
        },
        "fits": found.fits,
        "seconds": None if cost is None else round(cost.seconds, 1),
        "flops": None if cost is None else cost.flops,
        "usd": None if cost is None or cost.dollars is None else round(cost.dollars, 4),
        "why": found.why,
    }  # fmt: skip
