"""The memory of a training step, before a weight is read and without a GPU.

The base is built from its configuration on the meta device, the adapter is attached as in training, and the worst
step is run there while every storage is followed from birth to death. What the meta device does otherwise than a
GPU is put right in `kernels` (autocast, attention) and `stubs` (four and eight bits).
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.errors import Unavailable
from lftreg.models.fresh import add_adapter
from lftreg.models.quantize import check_kind
from lftreg.models.targets import empty_model, modules_of
from lftreg.models.tasks import CLASSIFY, Task, natural_task
from lftreg.tensors import CLASSIFIER_HEADS

if TYPE_CHECKING:
    import torch

    from lftreg.budget.devices import Device
    from lftreg.budget.tracking import Tracker

Loss = Callable[[Any], "torch.Tensor"]

MIB = 1 << 20
# cuBLAS on Hopper keeps 32 MiB for each handle (CUBLASWorkspace.cpp), and the thread that runs backward has its own.
WORKSPACE = 2 * 32 * MIB
# The driver's context and the kernels that are loaded: outside of what torch allocates.
CONTEXT = 600 * MIB
SPARE = 0.05  # share of a device that pieces between blocks may leave unusable


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes at the worst moment of a step; `peak` is the sum of the others.

    `base` and `adapter` are weights, `optimizer` the two moments of AdamW, `gradients` the adapter's. `activations` is
    what else is alive at that moment; `workspace` is what libraries keep for themselves.
    """

    base: int
    adapter: int
    optimizer: int
    gradients: int
    activations: int
    workspace: int

    @property
    def peak(self) -> int:
        return self.static + self.activations + self.workspace

    @property
    def static(self) -> int:
        """What does not depend on the rows."""
        return self.base + self.adapter + self.optimizer + self.gradients


def estimate(
    config: Mapping[str, Any],
    loss: Loss,
    *,
    targets: Sequence[str],
    rank: int,
    task: Task | None = None,
    dtype: str = "float32",
    quantize: str | None = None,
    gradient_checkpointing: bool = False,
    dropout: float = 0.0,
    labels: int = 0,
    autocast: bool | None = None,
    gpu: bool = True,
    code: Path | None = None,
    validation: Loss | None = None,
) -> Memory:
    """What a training step takes at its peak, in bytes as torch counts them (`torch.cuda.max_memory_allocated`).

    `config` is the base's `config.json`, `code` its folder where its own Python is trusted. `loss` gives the loss of
    the worst micro-batch for a model on the meta device, which it must take `model.device` for; `validation`
    likewise for the largest batch that is computed without gradients. `labels` is the number of a
    classifier's. `autocast` is as a GPU computes bfloat16 in training, where it is left out. Raises InvalidData for a
    configuration that no model can be built from, Unavailable (`no-estimate`) for a model that cannot run on the
    meta device.
    """
    import torch

    from lftreg.budget.kernels import Kernels, autocast_flag
    from lftreg.budget.tracking import Tracker

    check_kind(quantize)
    task = task or natural_task(config)
    half = torch.bfloat16 if (dtype == "bfloat16" and gpu if autocast is None else autocast) else None
    tracker = Tracker()
    model = _model(
        config, task, targets, rank, dtype, quantize, gradient_checkpointing, dropout, labels, code
    )
    try:
        with autocast_flag(half), tracker, Kernels(tracker, half, gpu) as mode:
            if gradient_checkpointing:
                # Whatever runs inside `backward` runs outside of a mode for functions: recomputing asks for it again.
                again = {"use_reentrant": False, "context_fn": lambda: (contextlib.nullcontext(), mode)}
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=again)
            static = _static(model, tracker)
            peak = max(_trained(model, loss, tracker), _validated(model, validation, tracker))
    except Exception as error:  # models are anyone's code, and few were written with the meta device in mind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unavailable(
            f"the memory of this {config['model_type']} model cannot be foretold: {reason}",
            "train with a small --batch-size first",
            code="no-estimate",
        ) from error
    base, adapter, optimizer, gradients = static
    return Memory(base, adapter, optimizer, gradients, max(0, peak - sum(static)), WORKSPACE if gpu else 0)


def fits(memory: Memory, device: Device) -> bool | None:
    """Whether a step fits a device with its context and some room for fragments; None where its size is unknown."""
    if device.memory is None:
        return None
    return memory.peak <= usable(device.memory)


def usable(size: int) -> int:
    """Bytes that a step may take of a device of `size` bytes."""
    return int(size * (1 - SPARE)) - CONTEXT


def _model(
    config: Mapping[str, Any],
    task: Task,
    targets: Sequence[str],
    rank: int,
    dtype: str,
    quantize: str | None,
    gradient_checkpointing: bool,
    dropout: float,
    labels: int,
    code: Path | None,
) -> Any:
    """The base and its fresh adapter on the meta device, as training makes them."""
    import torch

    from lftreg.budget.stubs import Packed, pack

    options: dict[str, Any] = {"dtype": dtype}
    if task is CLASSIFY:
        options["num_labels"] = labels
    model = empty_model(config, task, code, **options)
    heads = [module.name for module in modules_of(model) if module.head]
    if quantize is not None:
        pack(model, quantize, heads)
    model.requires_grad_(False)
    fresh = {part for name in heads for part in name.split(".") if part in CLASSIFIER_HEADS}
    with torch.device("meta"):
        model = add_adapter(
            model,
            task,
            targets,
            rank=rank,
            alpha=2 * rank,
            dropout=dropout,
            heads=sorted(fresh) if task is CLASSIFY else (),
            gradient_checkpointing=gradient_checkpointing,
        )
    for module in model.modules():
        if isinstance(getattr(module, "base_layer", None), Packed):
            module.cast_input_dtype_enabled = False  # PEFT's layers over bitsandbytes leave it to autocast
    return model


def _static(model: Any, tracker: Tracker) -> tuple[int, int, int, int]:
    """Bytes of base, adapter, optimizer and gradients; weights are held from here on."""
    from lftreg.budget.tracking import rounded

    trained = [p for p in model.parameters() if p.requires_grad]
    for tensor in trained:
        tracker.hold(tensor)
    adapter = tracker.live
    for tensor in [*model.parameters(), *model.buffers()]:
        tracker.hold(tensor)
    gradients = sum(rounded(p.numel() * p.element_size()) for p in trained)
    return tracker.live - adapter, adapter, 2 * gradients, gradients


def _trained(model: Any, loss: Loss, tracker: Tracker) -> int:
    """The peak of a training step whose optimizer has made its moments before."""
    import torch

    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, foreach=True)
    for parameter in parameters:
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    model.train()
    tracker.restart()
    loss(model).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return tracker.peak


def _validated(model: Any, validation: Loss | None, tracker: Tracker) -> int:
    """The peak of a batch without gradients, beside the moments of an optimizer that is held no longer."""
    import torch

    if validation is None:
        return 0
    moments = 2 * sum(p.numel() * p.element_size() for p in model.parameters() if p.requires_grad)
    model.eval()
    tracker.restart()
    with torch.no_grad():
        validation(model)
    return int(tracker.peak + moments)
