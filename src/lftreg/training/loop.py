"""The training loop.

It reads top to bottom: validate when it is time, save when it is time, take a step, until the steps are done or
validation no longer improves. What is learned is an objective's affair, how a step is taken a learner's. The loss is
nats a learned token, summed over all tokens of a step before the division, so that gradient accumulation
equals one large batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from lftreg.errors import Interrupted, StorageError
from lftreg.objectives import Objective
from lftreg.objectives.rows import Row
from lftreg.training import memory
from lftreg.training.alone import Alone
from lftreg.training.asks import Asking, Subject
from lftreg.training.checkpoint import Keeper
from lftreg.training.events import Listener, Resumed, Saved, Shrunk, Stepped, Validated, Warned
from lftreg.training.learner import Evaluated, Learner, NotFinite, Stopped
from lftreg.training.order import Order
from lftreg.training.processes import make_accelerator
from lftreg.training.settings import Settings
from lftreg.training.state import Fitted, State
from lftreg.training.stopping import Stop

if TYPE_CHECKING:
    import torch


def fit(
    model: Any,
    objective: Objective,
    train: Sequence[Row],
    validation: Sequence[Row],
    settings: Settings,
    listen: Listener,
    *,
    accelerator: Any = None,
    keeper: Keeper | None = None,
    stop: Stop | None = None,
) -> Fitted:
    """Train the parameters of `model` that require a gradient. `settings` must be resolved.

    With a `keeper` the run goes on from its newest checkpoint, where there is one, and saves more; `stop` ends it
    between two steps. Raises NotFinite with the step and the rows when the loss or a gradient stops being a
    number, OutOfMemory where not even one row fits, Interrupted where it was stopped.
    """
    alone = Alone(model, objective, accelerator or make_accelerator(), settings.gradient_checkpointing)
    return alone.run(Loop(alone, objective, train, validation, settings, listen, keeper, stop).run())


class Loop:
    """One run: where it stands, and what it is made of."""

    def __init__(
        self,
        subject: Subject,
        objective: Objective,
        train: Sequence[Row],
        validation: Sequence[Row],
        settings: Settings,
        listen: Listener,
        keeper: Keeper | None = None,
        stop: Stop | None = None,
        base: Evaluated | None = None,
    ) -> None:
        """`base` is what validation finds before the first step, if somebody knows: of a fresh adapter it is what
        any other finds, as it changes nothing yet."""
        assert settings.max_steps is not None and settings.lr is not None
        self.settings = settings
        self.steps = settings.max_steps
        self.learner = Learner(subject, settings)
        self.order = Order(train, objective, settings)
        self.objective = objective
        self.held_out = objective.held_out(validation)
        self.keeper = keeper
        self.stop = Stop() if stop is None else stop
        self._base = base
        self.listen = listen if self.learner.accelerator.is_main_process else lambda event: None
        self.state = State(micro=self.learner.micro, checkpointing=settings.gradient_checkpointing)
        self.best: dict[str, torch.Tensor] = subject.factors()
        self.saved = 0
        self.every = validation_interval(self.steps, self.order.steps_a_pass)

    def run(self) -> Asking[Fitted]:
        """The whole run, as a generator of what it asks of the model."""
        self._restore()
        self._clock = time.monotonic() - self.state.seconds
        try:
            while True:
                if self._validation_is_due():
                    yield from self._validate()
                if self._is_over():
                    break
                self._save_and_stop()
                yield from self._step()
        except Stopped:
            self._interrupt()
        if self.keeper and self.saved != self.state.step:
            self._save()  # questions and a registry are still to come
        state = self.state
        early = state.step < self.steps
        seconds = time.monotonic() - self._clock
        return Fitted(
            self.best, tuple(state.steps), tuple(state.validations), state.best_step, early, seconds
        )

    def _restore(self) -> None:
        found = self.keeper.restore(self.learner) if self.keeper else None
        if found is not None:
            self.state, self.best, fallback = found
            self.saved = self.state.step
            for validated in self.state.validations:
                self.listen(validated)
            for stepped in self.state.steps[-1:]:
                self.listen(stepped)
            self.listen(Resumed(self.state.step, fallback))

    def _is_over(self) -> bool:
        return self.state.step == self.steps or self.state.waiting >= self.settings.patience

    def judge(self, validation: Sequence[Row]) -> Asking[Evaluated]:
        """What validation finds on some rows between two steps, with nothing written down.

        Raises NotFinite, and Interrupted.
        """
        try:
            return (yield from self._judge(self.objective.held_out(validation)))
        except Stopped:
            self._interrupt()

    def _judge(self, rows: Sequence[Row]) -> Asking[Evaluated]:
        found = yield from self.learner.evaluate(rows, self.stop)
        if not math.isfinite(found.loss):
            told = yield from self.learner.blame(rows, found.loss, "validation")
            raise NotFinite(*self._at(*told))
        return found

    def _validation_is_due(self) -> bool:
        step = self.state.step
        return not self.state.validated and (step % self.every == 0 or step == self.steps)

    def _validate(self) -> Asking[None]:
        state = self.state
        known = self._base if state.step == 0 else None
        loss, accuracy, right, entropy = known or (yield from self._judge(self.held_out))
        validated = Validated(state.step, loss, loss < state.lowest, accuracy, right, entropy)
        if validated.best:
            self.best, state.best_step = self.learner.subject.factors(), state.step
        state.waiting = 0 if validated.best else state.waiting + 1
        state.validations.append(validated)
        self.listen(validated)

    def _step(self) -> Asking[None]:
        state = self.state
        group = self.order.group(state.step)
        rate = learning_rate(state.step + 1, self.settings)
        try:
            loss, norm = yield from self.learner.step(group, rate, self._tell_shrunk)
        except NotFinite as error:
            raise NotFinite(*self._at(error.message, error.hint or "", 1)) from None
        state.step += 1
        state.tokens += sum(len(row.ids) for batch in group for row in batch)
        state.seconds = time.monotonic() - self._clock
        used = memory.peak(self.learner.device)
        stepped = Stepped(state.step, self.steps, loss, rate, state.tokens, state.seconds, used, norm)
        state.steps.append(stepped)
        self.listen(stepped)

    def _at(self, message: str, hint: str, after: int = 0) -> tuple[str, str]:
        """An error with the step at which it came."""
        return f"step {self.state.step + after}: {message}", hint

    def _tell_shrunk(self, rows: int, checkpointing: bool) -> None:
        self.state.micro, self.state.checkpointing = rows, checkpointing
        self.listen(Shrunk(self.state.step + 1, rows, checkpointing))

    def _save_and_stop(self) -> None:
        """A checkpoint where it is time for one; the end of the run where somebody wishes it."""
        if self.learner.agree(bool(self.stop)):
            self._interrupt()
        step = self.state.step
        first = self.learner.accelerator.is_main_process
        if self.keeper and step != self.saved and self.learner.agree(first and self.keeper.due(step)):
            try:
                self._save()
            except StorageError as error:  # the one before is whole, and the next may find more room
                self.listen(Warned(f"step {step}: {error.message}"))

    def _save(self) -> None:
        assert self.keeper is not None
        self.state.seconds = time.monotonic() - self._clock
        self.keeper.save(self.learner, self.state, self.best)
        self.saved = self.state.step
        self.listen(Saved(self.state.step))

    def _interrupt(self) -> NoReturn:
        if self.keeper is None:
            raise Interrupted(f"stopped after step {self.state.step} of {self.steps}; nothing was registered")
        self._save()
        stopped = Interrupted(
            f"stopped after step {self.state.step} of {self.steps}; everything is saved",
            "`lftreg train --resume` goes on from there",
        )
        if self.stop.signal is not None:
            stopped.exit_code = 128 + self.stop.signal
        raise stopped


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up to the peak, then a cosine to a hundredth of it. Steps count from 1."""
    assert settings.max_steps is not None and settings.lr is not None
    warmup = max(1, round(settings.warmup * settings.max_steps))
    if step <= warmup:
        return settings.lr * step / warmup
    done = (step - warmup) / max(1, settings.max_steps - warmup)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def validation_interval(steps: int, steps_a_pass: int) -> int:
    """Once a pass, or five times in a run of few passes, but never more often than every ten steps."""
    return max(10, min(steps_a_pass, steps // 5))
