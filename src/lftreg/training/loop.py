"""The training loop.

It reads top to bottom: a pass over the data, a step, a validation now and then, the best
factors kept. The loss is nats a learned token, summed over all tokens of a step before the
division, so that gradient accumulation equals one large batch.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lftreg.errors import LftregError
from lftreg.training.rows import IGNORED, Row, batches, thinned
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
    """After a validation; `best` says whether it is the lowest so far."""

    step: int
    loss: float
    best: bool


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
        best = min(self.validations, key=lambda v: v.loss)
        return {
            "train_first": self.steps[0].loss,
            "train_last": sum(s.loss for s in recent) / len(recent),
            "validation_before": self.validations[0].loss,
            "validation_after": best.loss,
        }


class _NotFinite(LftregError):
    code = "not-finite"


def fit(
    model: Any,
    train: Sequence[Row],
    validation: Sequence[Row],
    settings: Settings,
    pad_id: int,
    listen: Listener,
    words: frozenset[int] = frozenset(),
) -> Fitted:
    """Train the parameters of `model` that require a gradient. `settings` must be resolved.

    `words` are the ids that prompt dropout may leave out. Raises LftregError (`not-finite`) with
    the step when the loss or a gradient stops being a number.
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
    validations = [Validated(0, evaluate(model, validation, settings.batch_size, pad_id), best=True)]
    listen(validations[0])
    best: dict[str, torch.Tensor] = _factors(model)
    best_step = 0
    every = _validation_interval(settings.max_steps, len(train), settings)
    waiting = 0
    recent: deque[Stepped] = deque(maxlen=RECENT)

    model.train()
    for step, group in enumerate(_steps(train, settings, words), start=1):
        rate = _rate(step, settings)
        for options in optimizer.param_groups:
            options["lr"] = rate
        loss = _step(accelerator, model, parameters, optimizer, group, settings, pad_id)
        if not math.isfinite(loss):
            raise _NotFinite(
                f"the loss became {loss} at step {step}",
                f"nothing was registered; try a smaller learning rate than {settings.lr:g}",
            )
        tokens += sum(len(row.ids) for batch in group for row in batch)
        steps.append(Stepped(step, settings.max_steps, loss, rate, tokens, time.monotonic() - started))
        recent.append(steps[-1])
        listen(steps[-1])

        if step % every == 0 or step == settings.max_steps:
            held_out = evaluate(model, validation, settings.batch_size, pad_id)
            model.train()
            improved = held_out < min(v.loss for v in validations)
            validations.append(Validated(step, held_out, improved))
            listen(validations[-1])
            waiting = 0 if improved else waiting + 1
            if improved:
                best, best_step = _factors(model), step
            if waiting >= settings.patience:
                break
    model.eval()
    early = len(steps) < settings.max_steps
    return Fitted(best, tuple(steps), tuple(validations), best_step, early)


def evaluate(model: Any, rows: Sequence[Row], batch_size: int, pad_id: int) -> float:
    """Mean loss over rows, in nats a learned token. No gradient, no dropout."""
    import torch

    if not rows:
        return math.nan
    model.eval()
    total = 0.0
    ordered = sorted(rows, key=lambda row: len(row.ids))
    with torch.inference_mode():
        for start in range(0, len(ordered), 2 * batch_size):
            total += float(loss_sum(model, ordered[start : start + 2 * batch_size], pad_id))
    return total / sum(row.learned for row in rows)


def loss_sum(model: Any, rows: Sequence[Row], pad_id: int) -> torch.Tensor:
    """Cross entropy summed over the learned tokens of some rows.

    Rows are padded on the right, where causal attention never looks, so no mask is needed.
    """
    import torch
    import torch.nn.functional as F

    longest = max(len(row.ids) for row in rows)

    def padded(values: Sequence[Sequence[int]], filler: int) -> torch.Tensor:
        return torch.tensor([list(v) + [filler] * (longest - len(v)) for v in values], device=model.device)

    ids = padded([row.ids for row in rows], pad_id)
    labels = padded([row.labels for row in rows], IGNORED)[:, 1:]
    learned = labels != IGNORED
    return F.cross_entropy(_logits(model, ids, learned).float(), labels[learned], reduction="sum")


def _logits(model: Any, ids: torch.Tensor, learned: torch.Tensor) -> torch.Tensor:
    """Logits (learned tokens, vocabulary) that predict the learned tokens of `ids` (rows, length).

    The vocabulary is by far the widest layer, and prompts need none of it: the hidden states
    that matter are picked before it. Models that do more than one product there (a soft cap, a
    scale) take the long way round.
    """
    core = model.get_base_model()
    head = core.get_output_embeddings()
    decoder = core.base_model
    if head is None or decoder is core or _shapes_logits(core.config):
        logits: torch.Tensor = model(input_ids=ids, use_cache=False).logits[:, :-1][learned]
        return logits
    hidden = decoder(input_ids=ids, use_cache=False).last_hidden_state
    picked: torch.Tensor = head(hidden[:, :-1][learned])
    return picked


def _shapes_logits(config: Any) -> bool:
    """Whether a model changes its logits after the output layer."""
    shaping = ("final_logit_softcapping", "logit_scale", "logits_scaling", "lm_head_multiplier")
    return any(getattr(config, name, None) not in (None, 1, 1.0) for name in shaping)


def _step(
    accelerator: Any,
    model: Any,
    parameters: list[Any],
    optimizer: Any,
    group: list[list[Row]],
    settings: Settings,
    pad_id: int,
) -> float:
    """One optimizer step over a group of micro-batches; returns its mean loss."""
    learned = sum(row.learned for batch in group for row in batch)
    total = 0.0
    for batch in group:
        loss = loss_sum(model, batch, pad_id) / learned
        accelerator.backward(loss)
        total += loss.item()
    norm = accelerator.clip_grad_norm_(parameters, settings.clip)
    if not math.isfinite(float(norm)):
        return math.nan
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total


def _steps(train: Sequence[Row], settings: Settings, words: frozenset[int]) -> Iterator[list[list[Row]]]:
    """Groups of micro-batches, one a step, pass after pass, up to the number of steps."""
    assert settings.max_steps is not None
    made = 0
    epoch = 0
    while True:
        seed = settings.seed + epoch
        rows = thinned(train, settings.prompt_dropout, words, seed) if settings.prompt_dropout else train
        passing = list(batches(rows, settings.batch_size, seed))
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
