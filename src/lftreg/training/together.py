"""Runs that share a base: their adapters train side by side, and each leaves when it has ended."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, cast

from lftreg.errors import LftregError
from lftreg.models.configs import plain_config
from lftreg.models.load import Loaded, load_base
from lftreg.models.sound import check_weights
from lftreg.objectives.causal import Causal
from lftreg.training import memory, samples
from lftreg.training.by_itself import said_before, with_adapter
from lftreg.training.checkpoint import Keeper
from lftreg.training.cohort import Member, Shared
from lftreg.training.compiling import worth_compiling
from lftreg.training.continuing import fill
from lftreg.training.events import Compiling, Listener, Warned
from lftreg.training.lanes import Lane, lane_of
from lftreg.training.learner import Learner, NotFinite
from lftreg.training.loop import Loop
from lftreg.training.plan import Plan
from lftreg.training.publish import Outcome, check_alive
from lftreg.training.runs import RunFolder
from lftreg.training.state import Fitted
from lftreg.training.stopping import Stop


@dataclass(frozen=True, slots=True)
class Started:
    """A run that is about to be trained. `exits` are to be closed when it has ended."""

    plan: Plan
    run: RunFolder
    listen: Listener
    exits: ExitStack


def fit_together(
    started: Sequence[Started], accelerator: Any, save_every: int | None, stop: Stop
) -> Iterator[tuple[int, Outcome | LftregError]]:
    """What comes of runs over one base, by their places, in the order in which they end."""
    import torch

    plan = started[0].plan
    torch.set_num_threads(started[0].run.request.threads)
    loaded = load_base(plan.base, plan.settings.dtype, quantize=plan.settings.quantize)
    seats: dict[int, _Seat] = {}
    first = started[0].listen  # of what concerns all of them
    with shared_among(
        [one.plan for one in started], loaded.model, lambda text: first(Warned(text))
    ) as shared:
        for place, one in enumerate(started):
            try:
                with memory.told():
                    seats[place] = _Seat(one, loaded, accelerator)
                    seats[place].ask_before(shared)
            except LftregError as error:
                seats.pop(place, None)
                yield place, error
        if shared.compiling:
            first(Compiling())
        places = list(seats)
        members = [seat.member(save_every, len(seats), stop) for seat in seats.values()]
        for member, end in shared.run(members):
            place = places[members.index(member)]
            yield place, _outcome(seats[place], end, shared)


def shared_among(plans: Sequence[Plan], model: Any, warn: Callable[[str], None] = warnings.warn) -> Shared:
    """A base that answers the loops of these plans, in the way that is fastest where it is."""
    on_gpu = model.device.type == "cuda"
    compiling = on_gpu and worth_compiling(plans, model.device)
    return Shared(model, stacked=on_gpu, compiling=compiling, warn=warn)


def _outcome(seat: _Seat, end: Fitted | LftregError, shared: Shared) -> Outcome | LftregError:
    try:
        with memory.told():
            if isinstance(end, NotFinite):
                check_weights(shared.model, seat.plan.base.record.id)  # then it is nobody's learning rate
            return end if isinstance(end, LftregError) else seat.outcome(end, shared)
    except LftregError as error:
        return error


def seated(plan: Plan, loaded: Loaded, accelerator: Any) -> tuple[Lane, dict[str, Any]]:
    """A lane with the factors that a plan begins with, and the configuration of its adapter."""
    import torch
    from safetensors.torch import load_file

    settings = plan.settings
    torch.manual_seed(settings.seed)
    model = with_adapter(loaded, plan)
    if plan.parent is not None:
        fill(model, load_file(plan.parent.weights), plan.parent.version.ref)
    config = plain_config(model.peft_config["default"], plan.base.record.id)
    lane = lane_of(
        model,
        objective=cast(Causal, plan.objective),
        accelerator=accelerator,
        dropout=settings.dropout,
        noise=settings.neftune,
    )
    return lane, config


class _Seat:
    """One run beside others: its lane, and what it says before and after."""

    def __init__(self, started: Started, loaded: Loaded, accelerator: Any) -> None:
        self.started, self.plan, self.loaded = started, started.plan, loaded
        self.lane, self.config = seated(self.plan, loaded, accelerator)
        self.asked = samples.questions(self.plan)
        self.before: list[str] = []
        self.old_before: float | None = None

    def ask_before(self, shared: Shared) -> None:
        with shared.speaking(self.lane):
            self.before = said_before(self.started.run, shared.model, self.loaded, self.asked)
        self.old_before = self._old(shared)

    def member(self, save_every: int | None, many: int, stop: Stop) -> Member:
        rows = self.plan.rows
        loop = Loop(
            self.lane, self.plan.objective, rows["train"].rows, rows["validation"].rows, self.plan.settings,
            self.started.listen, Keeper(self.started.run.path, save_every, many), stop,
        )  # fmt: skip
        return Member(self.lane, loop.run())

    def outcome(self, fitted: Fitted, shared: Shared) -> Outcome:
        check_alive(fitted, self.plan)
        self.lane.load(fitted.factors)
        with shared.speaking(self.lane):
            after = samples.answers(shared.model, self.loaded, self.asked)
        old_after = self._old(shared)
        old = None if self.old_before is None or old_after is None else (self.old_before, old_after)
        return Outcome(fitted, self.config, samples.together(self.asked, self.before, after), old)

    def _old(self, shared: Shared) -> float | None:
        """The loss on the rows that a parent held out."""
        if not self.plan.old:
            return None
        asking = Learner(self.lane, self.plan.settings).evaluate(self.plan.old)
        ((_, end),) = shared.run([Member(self.lane, asking)])
        if isinstance(end, LftregError):
            raise end
        loss: float = end.loss
        return loss
