"""One optimizer step, and one validation: what is done to a model, and what is done where memory runs out.

Several processes share the rows of every batch. Gradients are added up once a step, in one exchange over
accelerate's process group: an adapter is small, and a process that runs out of memory can so be
waited for, which DDP's exchange inside the backward pass does not allow. Under FSDP the frozen base is shared out,
and the adapter stays whole in every process, so that all of this holds there too; but a step that one process cannot
take cannot be tried again, as the others already wait for its part of the base.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from lftreg.errors import LftregError
from lftreg.models.fresh import checkpoint_gradients
from lftreg.objectives import Objective
from lftreg.objectives.rows import Row
from lftreg.training import memory
from lftreg.training.preflight import check_gradients
from lftreg.training.processes import shares_base
from lftreg.training.settings import Settings
from lftreg.training.stopping import Stop

if TYPE_CHECKING:
    import torch

    Random = list[torch.Tensor]

NAMED = 8  # rows that an error names before it says how many there are


class NotFinite(LftregError):
    code = "not-finite"


class Stopped(Exception):
    """The wish to stop was heard in the middle of something that can be done again."""


class Learner:
    """A model with an adapter, its optimizer, and the rows that it is given at once."""

    def __init__(self, model: Any, objective: Objective, settings: Settings, accelerator: Any) -> None:
        import torch

        self.model = model
        self.objective = objective
        self.settings = settings
        self.accelerator = accelerator
        self.micro = -(-settings.batch_size // accelerator.num_processes)
        self.checkpointing = settings.gradient_checkpointing
        self._proven = False
        self.shared_out = shares_base(accelerator)
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self.parameters = list(self.named.values())
        optimizer = torch.optim.AdamW(
            self.parameters, lr=settings.lr or 0.0, weight_decay=settings.weight_decay
        )
        self.judge, self.optimizer = _prepared(_judge_of(model, objective), optimizer, accelerator)

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    def step(self, group: Sequence[Sequence[Row]], rate: float, tell: Callable[[int, bool], None]) -> float:
        """One optimizer step over batches of rows; returns their mean loss, in nats a learned token.

        Where memory runs out the same step is tried again from the state before it, with fewer rows at once
        and the same sum; `tell` hears of it. Raises OutOfMemory where one row is too much, NotFinite where
        the loss or a gradient is no number. The parameters are untouched in both.
        """
        import torch

        for options in self.optimizer.param_groups:
            options["lr"] = rate
        while True:
            random = self.random_state()
            self.optimizer.zero_grad(set_to_none=True)
            loss = self._gradients(group)
            if loss is not None:
                break
            memory.release(self.device)
            self._shrink(group)
            self.set_random_state(random)
            tell(self.micro, self.checkpointing)
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip))
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self.optimizer.zero_grad(set_to_none=True)
            raise NotFinite(*self.blame([row for batch in group for row in batch], loss + norm, "train"))
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def evaluate(self, rows: Sequence[Row], stop: Stop | None = None) -> tuple[float, float | None]:
        """Mean loss in nats a learned token, and the share of rows that are right where that means something.

        No gradient, no dropout. Memory that runs out halves the rows at once here too. Raises Stopped.
        """
        self.judge.eval()
        totals = [0.0, 0.0]
        counted = False
        at = 2 * self.micro
        for part, weight in self._mine(sorted(rows, key=lambda row: len(row.ids)), at):
            if stop and self.accelerator.num_processes == 1:
                raise Stopped
            for loss, right in self._judged(part):
                totals[0] += loss * weight
                totals[1] += (right or 0.0) * weight
                counted = counted or right is not None
        self.judge.train()
        loss, right = self._sum(totals)
        return loss / sum(row.learned for row in rows), right / len(rows) if counted else None

    def agree(self, wish: bool) -> bool:
        """Whether any of the processes wishes so."""
        return self._sum([float(wish)])[0] > 0

    def random_state(self) -> Random:
        """The generators that dropout and noise draw from: the CPU's, and this process's GPU's."""
        import torch

        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return states

    def set_random_state(self, states: Random) -> None:
        import torch

        torch.set_rng_state(states[0])
        if self.device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)

    def checkpoint_gradients(self) -> None:
        """Trade time for memory from here on: activations are computed again where they are needed."""
        checkpoint_gradients(self.model)
        self.checkpointing = True

    def factors(self) -> dict[str, torch.Tensor]:
        """A copy of the adapter's tensors, as PEFT names them in a file."""
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}

    def _gradients(self, group: Sequence[Sequence[Row]]) -> float | None:
        """Gradients of the mean loss, added up over all processes; None where memory ran out in one."""
        import torch

        learned = sum(row.learned for batch in group for row in batch)
        total: Any = 0.0
        ran_out = False
        try:
            for batch in group:
                for part, weight in self._mine(batch, self.micro):
                    with self._autocast():
                        loss = self.judge(part)[0] / learned
                    if not weight:
                        loss = torch.nan_to_num(loss) * 0.0
                    loss.backward()  # accelerate would divide it by a number of its own
                    total = total + loss.detach()
        except Exception as error:
            if self.shared_out or not memory.ran_out(error):
                raise
            ran_out = True  # the exception holds the step's tensors: it has to go before the next try
        if self.agree(ran_out):
            return None
        if not self._proven and any(True for batch in group for _ in self._mine(batch, self.micro)):
            check_gradients(self.model)
            self._proven = True
        if self.accelerator.num_processes == 1:
            return float(total)
        self._share_gradients()
        return self._sum([float(total)])[0]

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
        if not self.checkpointing:
            self.checkpoint_gradients()
            return
        longest = max(row.length for batch in group for row in batch)
        raise memory.OutOfMemory(
            f"a single row of {longest} tokens does not fit into memory, with gradient checkpointing too",
            f"--max-length below {longest} leaves it out; --quantize nf4, a smaller base or fewer targets help too",
        )

    def _judged(self, rows: Sequence[Row]) -> Iterator[tuple[float, float | None]]:
        """The loss of some rows, and how many are right, in as many pieces as memory asks for."""
        import torch

        try:
            with torch.no_grad(), self._autocast():
                loss, right = self.judge(rows)
                yield float(loss), None if right is None else float(right)
                return
        except Exception as error:
            if self.shared_out or not memory.ran_out(error):
                raise
            if len(rows) == 1:
                raise memory.OutOfMemory(
                    f"a validation row of {rows[0].length} tokens does not fit into memory",
                    f"--max-length below {rows[0].length} leaves it out; --quantize nf4 or a smaller base help too",
                ) from None
        memory.release(self.device)
        half = len(rows) // 2
        for part in (rows[:half], rows[half:]):
            yield from self._judged(part)

    def blame(self, rows: Sequence[Row], figure: float, split: str) -> tuple[str, str]:
        """Which of some rows give no finite loss, and what to do about it."""
        import torch

        alone = []
        with torch.no_grad(), self._autocast():
            for row in rows:
                if not math.isfinite(float(self.judge([row])[0])):
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

    def _autocast(self) -> Any:
        """On a GPU a bfloat16 base computes in it, and so do its float32 factors."""
        import torch

        if self.device.type != "cuda" or self.model.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast("cuda", torch.bfloat16)


def loss_of(
    model: Any, objective: Objective, rows: Sequence[Row], settings: Settings, accelerator: Any
) -> float | None:
    """Mean loss on some rows, in nats a learned token; None where there are none, or a base is shared out."""
    if shares_base(accelerator):
        return None  # a base can be shared out once, and the run is what needs it
    return Learner(model, objective, settings, accelerator).evaluate(rows)[0] if rows else None


def _judge_of(model: Any, objective: Objective) -> Any:
    """A module that maps rows to their summed loss, so that what wraps models can wrap this."""
    from torch import nn

    class Judge(nn.Module):
        _no_split_modules = getattr(model.get_base_model(), "_no_split_modules", None)  # FSDP asks for it

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, rows: Sequence[Row]) -> Any:
            return (objective.loss_sum(model, rows), None) if self.training else objective.judged(model, rows)

    return Judge()


def _prepared(judge: Any, optimizer: Any, accelerator: Any) -> tuple[Any, Any]:
    """Wrapped by accelerate where the base itself is shared out (FSDP), as they are elsewhere."""
    if not shares_base(accelerator):
        return judge, optimizer
    whole = [m for m in judge.modules() if any(p.requires_grad for p in m.parameters(recurse=False))]
    accelerator.state.fsdp_plugin.ignored_modules = whole
    prepared: tuple[Any, Any] = accelerator.prepare(judge, optimizer)
    return prepared
