"""Where trials train: a base that is read once, and loops over it that stop at a rung and go on when they may."""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, cast

from lftreg.errors import LftregError
from lftreg.models.configs import plain_config
from lftreg.models.load import Loaded, load_base
from lftreg.sweeping.halving import FINALISTS, some_of
from lftreg.training import Plan, samples
from lftreg.training.alone import Alone
from lftreg.training.asks import Ask, Asking, Subject
from lftreg.training.by_itself import fresh
from lftreg.training.cohort import Member, Shared
from lftreg.training.events import Event, Stepped, Validated
from lftreg.training.grouping import shared_base
from lftreg.training.lanes import Lane
from lftreg.training.learner import Evaluated, Learner
from lftreg.training.loop import Loop
from lftreg.training.noise import noisy_embeddings
from lftreg.training.publish import Outcome, check_alive
from lftreg.training.state import Fitted
from lftreg.training.stopping import Stop
from lftreg.training.together import seated, shared_among

Hear = Callable[[], None]  # is told of every step


class Seat:
    """One loop, which can be taken to a step and no further, and what it left or was ended by."""

    def __init__(
        self, plan: Plan, subject: Subject, stop: Stop, hear: Hear, base: Evaluated | None = None
    ) -> None:
        """`base` is what validation finds before the first step, if that is known."""
        train, validation = plan.rows["train"].rows, plan.rows["validation"].rows
        self.plan, self.subject = plan, subject
        self.fitted: Fitted | None = None
        self.loss = math.inf  # the lowest of the run's own validations so far
        self.compared = math.inf  # the lowest so far on the rows on which trials are compared
        self.before = math.inf  # that of the base
        self.seconds = 0.0  # its share of the time in which it trained beside others
        self._some = some_of(validation)
        self._step = 0
        self._hear = hear
        self._loop = Loop(
            subject, plan.objective, train, validation, plan.settings, self._listen, stop=stop, base=base
        )
        self._asking = self._loop.run()
        self._pending: Ask | None = None

    @property
    def improved(self) -> bool:
        return self.loss < self.before

    def until(self, step: int | None) -> Asking[None]:
        """Go on until `step` is judged, or to the end, as a generator of what is asked of the model.

        Raises what a run raises: NotFinite, OutOfMemory, Interrupted.
        """
        try:
            ask = self._asking.send(None) if self._pending is None else self._pending
            while step is None or self._step < step:
                ask = self._asking.send((yield ask))
        except StopIteration as end:
            self.fitted = end.value
            return
        self._pending = ask  # which is still to be answered
        found = yield from self._loop.judge(self._some)
        self.compared = min(self.compared, found.loss)

    def test(self) -> Asking[float]:
        """The loss of the best factors, which the subject has by now, on the rows that no trial has seen."""
        rows = self.plan.objective.held_out(self.plan.rows["test"].rows)
        evaluated = yield from Learner(self.subject, self.plan.settings).evaluate(rows)
        return evaluated.loss

    def _listen(self, event: Event) -> None:
        if isinstance(event, Validated):
            self.loss = min(self.loss, event.loss)
            if event.step == 0:
                self.before = event.loss
        elif isinstance(event, Stepped):
            self._step = event.step
            self._hear()


class Bench:
    """The base of a sweep, and trials on it."""

    def __init__(self, accelerator: Any, stop: Stop, hear: Hear, warn: Callable[[str], None]) -> None:
        """`warn` hears where the base cannot be compiled."""
        self._accelerator, self._stop, self._hear, self._warn = accelerator, stop, hear, warn
        self._bases: dict[Hashable, Loaded] = {}
        self._judged: dict[Hashable, Evaluated] = {}  # what validations find of the bases
        self._whole: dict[int, tuple[float, Fitted]] = {}

    @contextmanager
    def together(self, plans: Sequence[Plan]) -> Iterator[Table]:
        """Seats for plans that share a base, side by side; for one plan that cannot, a seat by itself."""
        if shared_base(plans[0]) is None:
            with self._by_itself(plans[0]) as table:
                yield table
            return
        loaded = self._shared(plans[0])
        lanes = [seated(plan, loaded, self._accelerator) for plan in plans]
        with shared_among(plans, loaded.model, self._warn) as shared:
            seats = []
            for plan, (lane, config) in zip(plans, lanes, strict=True):
                base = self._of_base(plan, lane, shared)
                seats.append((Seat(plan, lane, self._stop, self._hear, base), config))
            yield Side(loaded, shared, seats)

    def keep(self, number: int, seat: Seat) -> None:
        """Have a trial that has learned to its end at hand for the confirmation, if it is among the best so far."""
        assert seat.fitted is not None
        self._whole[number] = seat.loss, replace(seat.fitted, seconds=seat.seconds)
        for worse in sorted(self._whole, key=lambda number: (self._whole[number][0], number))[FINALISTS:]:
            del self._whole[worse]

    def kept(self, number: int) -> Fitted | None:
        return self._whole[number][1] if number in self._whole else None

    def _shared(self, plan: Plan) -> Loaded:
        key = shared_base(plan)
        if key not in self._bases:
            self._bases[key] = load_base(plan.base, plan.settings.dtype, quantize=plan.settings.quantize)
        return self._bases[key]

    def _of_base(self, plan: Plan, lane: Lane, shared: Shared) -> Evaluated | None:
        """What a validation finds of the base, which a fresh lane is; None where it came to nothing, as the trial
        is to tell why."""
        rows = plan.rows["validation"].rows
        key = (shared_base(plan), id(plan.objective), id(rows))  # plans of the same rows share them
        if key not in self._judged:
            judging = Learner(lane, plan.settings).evaluate(plan.objective.held_out(rows))
            ((_, found),) = shared.run([Member(lane, judging)])
            if isinstance(found, LftregError) or not math.isfinite(found.loss):
                return None
            self._judged[key] = found
        return self._judged[key]

    @contextmanager
    def _by_itself(self, plan: Plan) -> Iterator[Table]:
        settings = plan.settings
        loaded, model = fresh(plan)
        config = plain_config(model.peft_config["default"], plan.base.record.id)
        alone = Alone(model, plan.objective, self._accelerator, settings.gradient_checkpointing)
        with noisy_embeddings(model, settings.neftune):
            yield Single(loaded, alone, [(Seat(plan, alone, self._stop, self._hear), config)])


class Table(ABC):
    """Seats at which trials train."""

    def __init__(self, loaded: Loaded, seats: Sequence[tuple[Seat, Any]]) -> None:
        self.loaded = loaded
        self.seats = [seat for seat, _ in seats]
        self._configs = [config for _, config in seats]

    @property
    @abstractmethod
    def exact(self) -> bool:
        """Whether what is learned here is what `lftreg train` would learn."""

    def run(self, wanted: Sequence[tuple[Seat, Asking[Any]]]) -> Iterator[tuple[Seat, Any | LftregError]]:
        """Take what seats ask to its end: what each leaves, or what ended it."""
        began = time.monotonic()
        for seat, end in self._run(wanted):
            seat.seconds += (time.monotonic() - began) / len(wanted)
            yield seat, end

    @abstractmethod
    def _run(self, wanted: Sequence[tuple[Seat, Asking[Any]]]) -> Iterator[tuple[Seat, Any | LftregError]]:
        """The same, without a look at the clock."""

    @abstractmethod
    def take(self, seat: Seat) -> None:
        """Give the seat's model its best factors."""

    @abstractmethod
    def answers(self, seat: Seat) -> list[str]:
        """What the seat's model says to the plan's questions."""

    def tested(self) -> tuple[float, Outcome]:
        """What the only seat, which has ended, comes to on the test split; and what there is to publish."""
        (seat,) = self.seats
        assert seat.fitted is not None
        check_alive(seat.fitted, seat.plan)
        self.take(seat)
        ((_, loss),) = self.run([(seat, seat.test())])
        if isinstance(loss, LftregError):
            raise loss
        return loss, Outcome(seat.fitted, self._configs[0], ())


class Side(Table):
    """Side by side over one base."""

    def __init__(self, loaded: Loaded, shared: Shared, seats: Sequence[tuple[Seat, Any]]) -> None:
        super().__init__(loaded, seats)
        self._shared = shared

    @property
    def exact(self) -> bool:
        return self._shared.exact

    def _run(self, wanted: Sequence[tuple[Seat, Asking[Any]]]) -> Iterator[tuple[Seat, Any | LftregError]]:
        members = [Member(cast(Lane, seat.subject), asking) for seat, asking in wanted]
        for member, end in self._shared.run(members):
            yield wanted[members.index(member)][0], end

    def take(self, seat: Seat) -> None:
        assert seat.fitted is not None
        cast(Lane, seat.subject).load(seat.fitted.factors)

    def answers(self, seat: Seat) -> list[str]:
        with self._shared.speaking(cast(Lane, seat.subject)):
            return samples.answers(self._shared.model, self.loaded, samples.questions(seat.plan))


class Single(Table):
    """One trial, with a base to itself."""

    def __init__(self, loaded: Loaded, alone: Alone, seats: Sequence[tuple[Seat, Any]]) -> None:
        super().__init__(loaded, seats)
        self._alone = alone

    @property
    def exact(self) -> bool:
        return True

    def _run(self, wanted: Sequence[tuple[Seat, Asking[Any]]]) -> Iterator[tuple[Seat, Any | LftregError]]:
        ((seat, asking),) = wanted
        try:
            yield seat, self._alone.run(asking)
        except LftregError as error:
            yield seat, error

    def take(self, seat: Seat) -> None:
        from peft import set_peft_model_state_dict

        assert seat.fitted is not None
        set_peft_model_state_dict(self._alone.model, seat.fitted.factors)

    def answers(self, seat: Seat) -> list[str]:
        return samples.answers(self._alone.model, self.loaded, samples.questions(seat.plan))
