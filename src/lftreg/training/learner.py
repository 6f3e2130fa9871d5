"""One optimizer step, and one validation: what is done to a model, and what is done where memory runs out.

Several processes share the rows of every batch. Gradients are added up once a step, in one exchange over
accelerate's process group: an adapter is small, and a process that runs out of memory can so be
waited for, which DDP's exchange inside the backward pass does not allow. Under FSDP the frozen base is shared out,
and the adapter stays whole in every process, so that all of this holds there too; but a step that one process cannot
take cannot be tried again, as the others already wait for its part of the base.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from lftreg.errors import LftregError
from lftreg.objectives import Judged, Objective
from lftreg.objectives.rows import Row
from lftreg.training import memory
from lftreg.training.alone import Alone
from lftreg.training.asks import Asking, Judge, Learn, Read, Subject
from lftreg.training.preflight import check_gradients
from lftreg.training.processes import shares_base
from lftreg.training.settings import Settings
from lftreg.training.stopping import Stop

if TYPE_CHECKING:
    import torch

NAMED = 8  # rows that an error names before it says how many there are


class NotFinite(LftregError):
    code = "not-finite"


class Stopped(Exception):
    """The wish to stop was heard in the middle of something that can be done again."""


class Evaluated(NamedTuple):
    """What a validation finds: see `lftreg.training.events.Validated`."""

    loss: float
    accuracy: float | None = None
    right: float | None = None
    entropy: float | None = None


class Learner:
    """Parameters that are trained, their optimizer, and how many rows are asked for at once.

    Its steps and validations are generators that yield what they ask of the model: see `lftreg.training.asks`.
    """

    def __init__(self, subject: Subject, settings: Settings) -> None:
        self.subject = subject
        self.settings = settings
        self.accelerator = subject.accelerator
        self.micro = -(-settings.batch_size // self.accelerator.num_processes)
        self._proven = False
        self.shared_out = shares_base(self.accelerator)
        self.named = subject.named
        self.parameters = subject.parameters
        self.optimizer = subject.optimizer(settings.lr or 0.0, settings.weight_decay)

    @property
    def device(self) -> torch.device:
        return self.subject.device

    def step(
        self, group: Sequence[Sequence[Row]], rate: float, tell: Callable[[int, bool], None]
    ) -> Asking[tuple[float, float]]:
        """One optimizer step over batches of rows; gives their mean loss, in nats a learned token, and the
        norm of the gradient before it is clipped.

        Where memory runs out the same step is tried again from the state before it, with fewer rows at once
        and the same sum; `tell` hears of it. Raises OutOfMemory where one row is too much, NotFinite where
        the loss or a gradient is no number. The parameters are untouched in both.
        """
        import torch

        for options in self.optimizer.param_groups:
            options["lr"] = rate
        while True:
            random = self.subject.random_state()
            self.optimizer.zero_grad(set_to_none=True)
            total = yield from self._gradients(group)
            if total is not None:
                break
            memory.release(self.device)
            self._shrink(group)
            self.subject.set_random_state(random)
            tell(self.micro, self.subject.checkpointing)
        size = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        loss, norm = yield Read(torch.stack([total.to(size), size]))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            rows = [row for batch in group for row in batch]
            raise NotFinite(*(yield from self.blame(rows, loss + norm, "train")))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss, norm

    def evaluate(self, rows: Sequence[Row], stop: Stop | None = None) -> Asking[Evaluated]:
        """Mean loss in nats a learned token, and how right and how sure the model is where that means something.

        No gradient, no dropout. Memory that runs out halves the rows at once here too. Raises Stopped.
        """
        totals = [0.0] * len(Judged._fields)
        counted = [False] * len(totals)
        at = 2 * self.micro
        for part, weight in self._mine(sorted(rows, key=lambda row: len(row.ids)), at):
            if stop and self.accelerator.num_processes == 1:
                raise Stopped
            for found in (yield from self._judged(part)):
                for which, figure in enumerate(found):
                    totals[which] += (figure or 0.0) * weight
                    counted[which] = counted[which] or figure is not None
        loss, correct, right, entropy = self._sum(totals)
        learned = sum(row.learned for row in rows)
        return Evaluated(
            loss / learned,
            correct / len(rows) if counted[1] else None,
            right / learned if counted[2] else None,
            entropy / learned if counted[3] else None,
        )

    def agree(self, wish: bool) -> bool:
        """Whether any of the processes wishes so."""
        return self._sum([float(wish)])[0] > 0

    def _gradients(self, group: Sequence[Sequence[Row]]) -> Asking[torch.Tensor | None]:
        """Gradients of the mean loss, added up over all processes; None where memory ran out in one."""
        import torch

        learned = sum(row.learned for batch in group for row in batch)
        total = torch.zeros((), device=self.device)
        ran_out = asked = False
        for part, weight in (one for batch in group for one in self._mine(batch, self.micro)):
            loss = yield Learn(part, learned, bool(weight))
            asked = True
            if loss is None:
                ran_out = True
                break
            total = total + loss
        if self.agree(ran_out):
            return None
        if asked and not self._proven:
            check_gradients(self.subject.unreached())
            self._proven = True
        if self.accelerator.num_processes == 1:
            return total
        self._share_gradients()
        return torch.tensor(self._sum([float(total)])[0])

    def _share_gradients(self) -> None:
        """Add the gradients of all processes up, in one exchange. What has none in any of them keeps none."""
        import torch

        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in self.parameters]
        had = self._sum([float(p.grad is not None) for p in self.parameters])
        flat = self.accelerator.reduce(torch.cat([piece.flatten() for piece in pieces]), reduction="sum")
        parts = torch.split(flat, [p.numel() for p in self.parameters])
        for parameter, piece, some in zip(self.parameters, parts, had, strict=True):
            parameter.grad = piece.view_as(parameter) if some else None

    def _shrink(self, group: Sequence[Sequence[Row]]) -> None:
        """Half as many rows at once; where that is one already, gradient checkpointing; then nothing is left."""
        if self.micro > 1:
            self.micro = -(-self.micro // 2)
            return
        if not self.subject.checkpointing:
            self.subject.checkpoint_gradients()
            return
        longest = max(row.length for batch in group for row in batch)
        raise memory.OutOfMemory(
            f"a single row of {longest} tokens does not fit into memory, with gradient checkpointing too",
            f"--max-length below {longest} leaves it out; --quantize nf4, a smaller base or fewer targets help too",
        )

    def _judged(self, rows: Sequence[Row]) -> Asking[list[list[float | None]]]:
        """The figures of `Judged` on some rows, in as many pieces as memory asks for."""
        import torch

        judged = yield Judge(rows)
        if judged is not None:
            there = [figure for figure in judged if figure is not None]
            told = iter((yield Read(torch.stack(there))))
            return [[None if figure is None else next(told) for figure in judged]]
        if len(rows) == 1:
            raise memory.OutOfMemory(
                f"a validation row of {rows[0].length} tokens does not fit into memory",
                f"--max-length below {rows[0].length} leaves it out; --quantize nf4 or a smaller base help too",
            )
        memory.release(self.device)
        half = len(rows) // 2
        first = yield from self._judged(rows[:half])
        return first + (yield from self._judged(rows[half:]))

    def blame(self, rows: Sequence[Row], figure: float, split: str) -> Asking[tuple[str, str]]:
        """Which of some rows give no finite loss, and what to do about it."""
        alone = []
        for row in rows:
            judged = yield Judge([row])
            if judged is not None and not math.isfinite(float(judged.loss)):
                alone.append(row)
        named = ", ".join(str(row.number) for row in (alone or rows)[:NAMED])
        more = "" if len(alone or rows) <= NAMED else f" and {len(alone or rows) - NAMED} more"
        if 0 < len(alone) < len(rows):
            return f"rows {named}{more} of {split} give a loss of {figure}", "look at them, or leave them out"
        return (
            f"the loss became {figure}, in a batch of the {split} rows {named}{more}",
            f"try a smaller learning rate than {self.settings.lr:g}, or --dtype float32",
        )

    def _mine(self, rows: Sequence[Row], size: int) -> Iterator[tuple[Sequence[Row], float]]:
        """This process's share of some rows, so many at once, and how much they count.

        Where the base is shared out all processes have to call it equally often: whoever has no rows left takes
        one that does not count.
        """
        processes = self.accelerator.num_processes
        mine = rows[self.accelerator.process_index :: processes]
        for start in range(0, -(-len(rows) // processes) if self.shared_out else len(mine), size):
            part = mine[start : start + size]
            yield (part, 1.0) if part else (rows[:1], 0.0)

    def _sum(self, figures: list[float]) -> list[float]:
        """Figures added up over all processes."""
        import torch

        if self.accelerator.num_processes == 1:
            return figures
        told = torch.tensor(figures, dtype=torch.float64, device=self.device)
        return [float(x) for x in self.accelerator.reduce(told, reduction="sum")]


def loss_of(
    model: Any, objective: Objective, rows: Sequence[Row], settings: Settings, accelerator: Any
) -> float | None:
    """Mean loss on some rows, in nats a learned token; None where there are none, or a base is shared out."""
    if not rows or shares_base(accelerator):  # a base can be shared out once, and the run is what needs it
        return None
    subject = Alone(model, objective, accelerator, settings.gradient_checkpointing)
    return subject.run(Learner(subject, settings).evaluate(rows)).loss
