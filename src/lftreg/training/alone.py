"""A model that one loop has to itself: PEFT's, as accelerate wraps it where processes share the base."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from lftreg.models.fresh import checkpoint_gradients
from lftreg.objectives import Objective
from lftreg.objectives.rows import Row
from lftreg.training import memory
from lftreg.training.asks import Ask, Asking, Judge, Read, Value, read
from lftreg.training.processes import shares_base

if TYPE_CHECKING:
    import torch


class Alone:
    """A model with an adapter, and the answers to what a loop asks of it."""

    def __init__(self, model: Any, objective: Objective, accelerator: Any, checkpointing: bool) -> None:
        self.model = model
        self.accelerator = accelerator
        self.checkpointing = checkpointing
        self.named = {name: p for name, p in model.named_parameters() if p.requires_grad}
        self._judge = _judge_of(
            model, objective
        ).eval()  # as a base is read: a run that goes on begins with a step

    @property
    def device(self) -> torch.device:
        device: torch.device = self.accelerator.device
        return device

    @property
    def parameters(self) -> list[torch.Tensor]:
        return list(self.named.values())

    def unreached(self) -> list[str]:
        return [name for name, parameter in self.named.items() if parameter.grad is None]

    def checkpoint_gradients(self) -> None:
        checkpoint_gradients(self.model)
        self.checkpointing = True

    def factors(self) -> dict[str, torch.Tensor]:
        from peft import get_peft_model_state_dict

        state = get_peft_model_state_dict(self.model, save_embedding_layers=False)
        return {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in state.items()}

    def optimizer(self, lr: float, weight_decay: float) -> Any:
        import torch

        optimizer = torch.optim.AdamW(list(self.named.values()), lr=lr, weight_decay=weight_decay)
        if not shares_base(self.accelerator):
            return optimizer
        whole = [
            m for m in self._judge.modules() if any(p.requires_grad for p in m.parameters(recurse=False))
        ]
        self.accelerator.state.fsdp_plugin.ignored_modules = whole
        self._judge, optimizer = self.accelerator.prepare(self._judge, optimizer)
        return optimizer

    def random_state(self) -> list[torch.Tensor]:
        """The generators of the whole process: the CPU's, and this process's GPU's."""
        import torch

        states = [torch.get_rng_state()]
        if self.device.type == "cuda":
            states.append(torch.cuda.get_rng_state(self.device))
        return states

    def set_random_state(self, states: list[torch.Tensor]) -> None:
        import torch

        torch.set_rng_state(states[0])
        if self.device.type == "cuda" and len(states) > 1:
            torch.cuda.set_rng_state(states[1], self.device)

    def run(self, asking: Asking[Value]) -> Value:
        """Answer all that a loop asks, to its end."""
        answer = None
        try:
            while True:
                ask = asking.send(answer)
                answer = self.answered(ask)
        except StopIteration as end:
            value: Value = end.value
            return value
        finally:
            self._judge.eval()

    def answered(self, ask: Ask) -> Any:
        """The answer, or None where memory ran out: the exception, which holds a step's tensors, is then gone."""
        if isinstance(ask, Read):
            return read([ask])[0]
        try:
            return self._judged(ask.rows) if isinstance(ask, Judge) else self._learned(ask)
        except Exception as error:
            if shares_base(self.accelerator) or not memory.ran_out(error):
                raise
        return None

    def _learned(self, ask: Any) -> Any:
        import torch

        self._turn(training=True)
        with autocast(self.model):
            loss = self._judge(ask.rows) / ask.learned
        if not ask.counts:
            loss = torch.nan_to_num(loss) * 0.0
        loss.backward()  # accelerate would divide it by a number of its own
        return loss.detach()

    def _judged(self, rows: Sequence[Row]) -> Any:
        import torch

        self._turn(training=False)
        with torch.no_grad(), autocast(self.model):
            return self._judge(rows)

    def _turn(self, training: bool) -> None:
        if self._judge.training != training:
            self._judge.train(training)


def autocast(model: Any) -> Any:
    """On a GPU a bfloat16 base computes in it, and so do its float32 factors."""
    import torch

    if model.device.type != "cuda" or model.dtype == torch.float32:
        return contextlib.nullcontext()
    return torch.autocast("cuda", torch.bfloat16)


def _judge_of(model: Any, objective: Objective) -> Any:
    """A module that maps rows to their summed loss, so that what wraps models can wrap this."""
    from torch import nn

    class JudgeOfRows(nn.Module):
        _no_split_modules = getattr(model.get_base_model(), "_no_split_modules", None)  # FSDP asks for it

        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, rows: Sequence[Row]) -> Any:
            return objective.loss_sum(model, rows) if self.training else objective.judged(model, rows)

    return JudgeOfRows()
