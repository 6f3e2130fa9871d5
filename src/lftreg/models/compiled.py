"""A base whose layers are compiled: what goes number by number is one kernel, and a pass is few launches.

The layers of a stack are alike, so one is compiled and all of them run its code ("regional compilation"); the number
of tokens is left open. What is set here of torch's compiler is the process's or the thread's: one base
at a time is trained so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

AMPERE = 8  # the first that computes in bfloat16
KINDS = 64  # of inputs that code is made for, before a layer goes back to what is not compiled


def can_compile(device: Any) -> bool:
    """Whether there is a compiler for a device's kernels, and a C compiler that it needs to launch them."""
    import shutil

    import torch
    from torch.utils._triton import has_triton

    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < AMPERE:
        return False
    return has_triton() and any(shutil.which(name) for name in ("gcc", "cc", "clang"))


@contextmanager
def compiled(model: Any) -> Iterator[None]:
    """Within, the layers of a base are compiled. Hooks have to be there before, and be one function for all layers."""
    import torch
    from torch._dynamo import config
    from torch._inductor import config as inductor

    layers = layers_of(model)
    # What hooks find at a module is of other sizes in each pass, as what the module is given is.
    options = {"recompile_limit": KINDS, "force_nn_module_property_static_shapes": False}
    with config.patch(options), inductor.patch(size_asserts=False):
        before = [layer.__dict__.get("forward") for layer in layers]  # of who else has put one there
        for layer in layers:
            layer.forward = torch.compile(layer.forward, dynamic=True)
        try:
            yield
        finally:
            for layer, own in zip(layers, before, strict=True):
                layer.__dict__.pop("forward", None)
                if own is not None:
                    layer.forward = own


def failed(error: BaseException) -> bool:
    """Whether it is compiling that failed, and not what was to be compiled."""
    from torch._dynamo.exc import TorchDynamoException

    return isinstance(error, TorchDynamoException)


def reason(error: BaseException) -> str:
    """Why compiling failed, in a line."""
    inner = getattr(error, "inner_exception", error)
    said = str(inner).strip().splitlines()
    return f"{type(inner).__name__}: {said[0]}" if said else type(inner).__name__


def eagerly() -> Any:
    """Within, what is compiled runs as it is written."""
    import torch

    return torch.compiler.set_stance("force_eager")


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers that follow one another: those that transformers says are not to be split."""
    names = set(getattr(model, "_no_split_modules", None) or ())
    return [module for module in model.modules() if type(module).__name__ in names]
