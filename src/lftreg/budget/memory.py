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

from lftreg.errors import LftregError, Unavailable
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


@dataclass(frozen=True, slots=True)
class Recipe:
    """What decides the size of a step, but for its rows.

    `config` is the base's `config.json`, `code` its folder where its own Python is trusted; `task` is the
    base's own where it is left out, `labels` the number of a classifier's. The others are as in training.
    """

    config: Mapping[str, Any]
    targets: Sequence[str]
    rank: int
    task: Task | None = None
    dtype: str = "float32"
    quantize: str | None = None
    gradient_checkpointing: bool = False
    dropout: float = 0.0
    labels: int = 0
    code: Path | None = None


def estimate(
    recipe: Recipe,
    loss: Loss,
    *,
    validation: Loss | None = None,
    gpu: bool = True,
    autocast: bool | None = None,
    kept: float = 1.0,
) -> Memory:
    """What a training step takes at its peak, in bytes as torch counts them (`torch.cuda.max_memory_allocated`).

    `loss` computes the loss of the worst micro-batch by a model on the meta device, whose `device` it makes tensors
    for; `validation` that of the largest batch without gradients. `autocast` says whether products are computed in
    bfloat16 whatever the weights are in; left out, it is on for a base in bfloat16 on a GPU. `kept` is the share of a
    step's activations that another way of training keeps, of those of PEFT's model. Raises InvalidData for
    a configuration that no model can be built from, Unavailable (`no-estimate`) for a model that cannot run on
    the meta device.
    """
    import torch

    from lftreg.budget.kernels import Kernels, autocast_flag
    from lftreg.budget.tracking import Tracker

    check_kind(recipe.quantize)
    if autocast is None:
        autocast = gpu and recipe.dtype == "bfloat16"
    half = torch.bfloat16 if autocast else None
    tracker = Tracker()
    try:
        model = _model(recipe)
        with autocast_flag(half), tracker, Kernels(tracker, half, gpu) as mode:
            if recipe.gradient_checkpointing:
                # Whatever runs inside `backward` runs outside of a mode for functions: recomputing asks for it again.
                again = {"use_reentrant": False, "context_fn": lambda: (contextlib.nullcontext(), mode)}
                model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=again)
            static = _static(model, tracker)
            trained = sum(static) + round(kept * (_trained(model, loss, tracker) - sum(static)))
            peak = max(trained, _validated(model, validation, tracker))
    except LftregError:
        raise
    except Exception as error:  # models are anyone's code, and few were written with the meta device in mind
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise Unavailable(
            f"the memory of this {recipe.config['model_type']} model cannot be foretold: {reason}",
            "train with a small --batch-size first",
            code="no-estimate",
        ) from error
    return Memory(*static, activations=max(0, peak - sum(static)), workspace=WORKSPACE if gpu else 0)


def fits(memory: Memory, device: Device) -> bool | None:
    """Whether a step fits a device with its context and some room for fragments; None where its size is unknown."""
    if device.memory is None:
        return None
    return memory.peak <= usable(device.memory)


def usable(size: int) -> int:
    """Bytes that a step may take of a device of `size` bytes."""
    return int(size * (1 - SPARE)) - CONTEXT


def _model(recipe: Recipe) -> Any:
    """The base and its fresh adapter on the meta device, as training makes them."""
    import torch

    from lftreg.budget.stubs import Packed, pack

    task = recipe.task or natural_task(recipe.config)
    options: dict[str, Any] = {"dtype": recipe.dtype}
    if task is CLASSIFY:
        options["num_labels"] = recipe.labels
    model = empty_model(recipe.config, task, recipe.code, **options)
    heads = [module.name for module in modules_of(model) if module.head]
    if recipe.quantize is not None:
        pack(model, recipe.quantize, heads)
    model.requires_grad_(False)
    fresh = {part for name in heads for part in name.split(".") if part in CLASSIFIER_HEADS}
    with torch.device("meta"):
        model = add_adapter(
            model,
            task,
            recipe.targets,
            rank=recipe.rank,
            alpha=recipe.rank,  # a number that scales: it takes no memory
            dropout=recipe.dropout,
            heads=sorted(fresh) if task is CLASSIFY else (),
            gradient_checkpointing=recipe.gradient_checkpointing,
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
