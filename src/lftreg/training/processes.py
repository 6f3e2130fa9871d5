"""One process or several: what the first one decides, the others take over."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from typing import Any, TypeVar

from lftreg.errors import UsageError

KNOWN = ("NO", "MULTI_GPU", "MULTI_CPU", "FSDP")

Value = TypeVar("Value")


def make_accelerator() -> Any:
    """Accelerate's view of the processes: one, or those that a launcher started. Sets this process's GPU."""
    import torch
    from accelerate import Accelerator

    accelerator = Accelerator(cpu=not torch.cuda.is_available(), mixed_precision="no")
    kind = str(accelerator.distributed_type.value)
    if kind not in KNOWN:
        raise UsageError(
            f"accelerate is set up for {kind}, which lftreg does not train with",
            "use several GPUs (--gpus N), or FSDP by --accelerate-config",
            code="unknown-launcher",
        )
    if accelerator.num_processes > 1:
        atexit.register(_part)  # NCCL warns of a group that nobody took down
    return accelerator


def shares_base(accelerator: Any) -> bool:
    """Whether the base itself is shared out over the processes (FSDP), so that none can use it by itself."""
    return str(accelerator.distributed_type.value) == "FSDP"


def _part() -> None:
    """Leave the group of processes."""
    import torch.distributed as distributed

    if distributed.is_initialized():
        distributed.destroy_process_group()


def by_first(accelerator: Any, make: Callable[[], Value]) -> Value:
    """What `make` gives in the first process, in all of them. Where it raises, all of them raise."""
    if accelerator.num_processes == 1:
        return make()
    from accelerate.utils import broadcast_object_list

    told: list[Any] = [None, None]
    if accelerator.is_main_process:
        try:
            told[0] = make()
        except Exception as error:  # noqa: BLE001 the others wait for an answer, whatever it is
            told[1] = error
    broadcast_object_list(told, from_process=0)
    if told[1] is not None:
        raise told[1]
    value: Value = told[0]
    return value
