"""The training loop.

It reads top to bottom: a pass over the data, a step, a validation now and then, the best
factors kept. What is learned is an objective's affair. The loss is nats a learned token, summed over
all tokens of a step before the division, so that gradient accumulation equals one large batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import LftregError
from lftreg.objectives import Objective
from lftreg.objectives.rows import Row, batches
from lftreg.training.settings import Settings

if TYPE_CHECKING:
    import torch

RECENT = 10  # steps whose mean is called the last training loss


@dataclass(frozen=True, slots=True)
class Stepped:
    """After an optimizer step; `loss` in nats a learned token, `tokens` so far."""

    step: int
    steps: int
    loss: float
    lr: float
    tokens: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Validated:
    """After a validation; `best` says whether it is the lowest so far. `accuracy` is a classifier's."""

    step: int
    loss: float
    best: bool
    accuracy: float | None = None


Event = Stepped | Validated
Listener = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Fitted:
    """What the loop leaves: the best factors, and the losses on the way."""

    factors: dict[str, torch.Tensor]
    steps: tuple[Stepped, ...]
    validations: tuple[Validated, ...]
    best_step: int
    stopped_early: bool

    @property
    def losses(self) -> dict[str, float]:
        recent = self.steps[-RECENT:]
        before, best = self.validations[0], min(self.validations, key=lambda v: v.loss)
        losses = {
            "train_first": self.steps[0].loss,
            "train_last": sum(s.loss for s in recent) / len(recent),
            "validation_before": before.loss,
            "validation_after": best.loss,
        }
        if before.accuracy is not None and best.accuracy is not None:
            losses |= {"accuracy_before": before.accuracy, "accuracy_after": best.accuracy}
        return losses


class _NotFinite(LftregError):
    code = "not-finite"


def fit(
    model: Any,
    objective: Objective,
    train: Sequence[Row],
    validation: Sequence[Row],
    settings: Settings,
    listen: Listener,
) -> Fitted:
    """Train the parameters of `model` that require a gradient. `settings` must be resolved.

    Raises LftregError (`not-finite`) with the step when the loss or a gradient stops being a number.
    """
    import torch
    from accelerate import Accelerator

    assert settings.max_steps is not None and settings.lr is not None
    accelerator = Accelerator(mixed_precision="no", cpu=model.device.type == "cpu")
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=settings.lr, weight_decay=settings.weight_decay)
    model, optimizer = accelerator.prepare(model, optimizer)

    started = time.monotonic()
    tokens = 0
    steps: list[Stepped] = []
    held_out = objective.held_out(validation)
    validations = [_validate(model, objective, held_out, settings, 0, math.inf)]
    listen(validations[0])
    best: dict[str, torch.Tensor] = _factors(model)
    best_step = 0
    every = _validation_interval(settings.max_steps, len(train), settings)
    waiting = 0

    model.train()
    for step, group in enumerate(_steps(train, objective, settings), start=1):
        rate = _rate(step, settings)
        for options in optimizer.param_groups:
            options["lr"] = rate
        loss = _step(accelerator, model, objective, parameters, optimizer, group, settings)
        if not math.isfinite(loss):
            raise _NotFinite(
                f"the loss became {loss} at step {step}",
                f"nothing was registered; try a smaller learning rate than {settings.lr:g}",
            )
        tokens += sum(len(row.ids) for batch in group for row in batch)
        steps.append(Stepped(step, settings.max_steps, loss, rate, tokens, time.monotonic() - started))
        listen(steps[-1])

        if step % every == 0 or step == settings.max_steps:
            lowest = min(v.loss for v in validations)
            validations.append(_validate(model, objective, held_out, settings, step, lowest))
            listen(validations[-1])
            model.train()
            waiting = 0 if validations[-1].best else waiting + 1
            if validations[-1].best:
                best, best_step = _factors(model), step
            if waiting >= settings.patience:
                break
    model.eval()
    early = len(steps) < settings.max_steps
    return Fitted(best, tuple(steps), tuple(validations), best_step, early)


def evaluate(model: Any, objective: Objective, rows: Sequence[Row], batch_size: int) -> float:
    """Mean loss over rows, in nats a learned token. No gradient, no dropout."""
    import torch

    if not rows:
        return math.nan
    model.eval()
    total = 0.0
    ordered = sorted(rows, key=lambda row: len(row.ids))
    with torch.inference_mode():
        for start in range(0, len(ordered), 2 * batch_size):
            total += float(objective.loss_sum(model, ordered[start : start + 2 * batch_size]))
    return total / sum(row.learned for row in rows)


def _validate(
    model: Any, objective: Objective, rows: Sequence[Row], settings: Settings, step: int, lowest: float
) -> Validated:
    loss = evaluate(model, objective, rows, settings.batch_size)
    return Validated(step, loss, loss < lowest, objective.accuracy(model, rows))


def _step(
    accelerator: Any,
    model: Any,
    objective: Objective,
    parameters: list[Any],
    optimizer: Any,
    group: list[list[Row]],
    settings: Settings,
) -> float:
    """One optimizer step over a group of micro-batches; returns its mean loss."""
    learned = sum(row.learned for batch in group for row in batch)
    total = 0.0
    for batch in group:
        loss = objective.loss_sum(model, batch) / learned
        accelerator.backward(loss)
        total += loss.item()
    norm = accelerator.clip_grad_norm_(parameters, settings.clip)
    if not math.isfinite(float(norm)):
        return math.nan
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def _steps(train: Sequence[Row], objective: Objective, settings: Settings) -> Iterator[list[list[Row]]]:
    """Groups of micro-batches, one a step, pass after pass, up to the number of steps."""
    assert settings.max_steps is not None
    made = 0
    epoch = 0
    while True:
        seed = settings.seed + epoch
        passing = list(batches(objective.each_pass(train, seed), settings.batch_size, seed))
        for start in range(0, len(passing), settings.accumulate):
            if made == settings.max_steps:
                return
            yield passing[start : start + settings.accumulate]
            made += 1
        epoch += 1


def _rate(step: int, settings: Settings) -> float:
    """Linear warm-up to the peak, then a cosine to a hundredth of it."""
    assert settings.max_steps is not None and settings.lr is not None
    warmup = max(1, round(settings.warmup * settings.max_steps))
    if step <= warmup:
        return settings.lr * step / warmup
    done = (step - warmup) / max(1, settings.max_steps - warmup)
    return settings.lr * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))


def _validation_interval(steps: int, rows: int, settings: Settings) -> int:
    """Once a pass, at least five times a run, never more often than every ten steps."""
    a_pass = -(-rows // (settings.batch_size * settings.accumulate))
    return max(10, min(a_pass, steps // 5))


def _factors(model: Any) -> dict[str, torch.Tensor]:
    """A copy of the adapter's tensors, as PEFT names them in a file."""
    from peft import get_peft_model_state_dict

    state = get_peft_model_state_dict(model, save_embedding_layers=False)
    return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}
