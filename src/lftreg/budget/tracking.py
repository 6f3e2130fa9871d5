"""What is alive on the meta device, byte by byte, while a model runs there.

The meta device computes shapes and allocates nothing, so a step of an 8B model takes seconds and no memory. Every
tensor still has a storage with a size and a lifetime; autograd keeps and drops them just as on a GPU.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

BLOCK = 512  # bytes; kMinBlockSize of c10/cuda/CUDACachingAllocator.cpp, to which sizes are rounded up
COMPUTED = 1 << 20  # numbers in an index or mask that are still computed for real


def rounded(size: int) -> int:
    """Bytes that the CUDA caching allocator counts for `size` bytes."""
    return -(-size // BLOCK) * BLOCK


class Tracker(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of living storages of one device; `peak` is the most that was alive at once.

    Models branch on the contents of indices and masks (are rows packed? is anything padded?). These are small
    integers and truth values, so beside their storages on the meta device they are computed for real, and
    branches are taken as they will be in training.
    """

    def __init__(self, device: str = "meta") -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device = device
        self.live = 0
        self.peak = 0
        self._sizes: dict[int, tuple[int, Any]] = {}
        self._values: dict[int, torch.Tensor] = {}

    def hold(self, tensor: torch.Tensor) -> None:
        """Count the storage of a tensor from now until it dies."""
        if tensor.device.type != self.device:
            return
        storage = tensor.untyped_storage()
        key = storage._cdata
        if key in self._sizes:
            return
        size = rounded(storage.nbytes())
        self._sizes[key] = size, weakref.ref(storage, self._forget(key))
        self.live += size
        self.peak = max(self.peak, self.live)

    def restart(self) -> None:
        """Forget the peak so far."""
        self.peak = self.live

    def tell(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        """Say what numbers a tensor on the meta device stands for. `value` has its shape."""
        key = tensor.untyped_storage()._cdata
        if key not in self._sizes:
            self.hold(tensor)
        self._values[key] = flat = torch.zeros(
            tensor.untyped_storage().nbytes() // tensor.element_size(), dtype=tensor.dtype
        )
        flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset()).copy_(value)

    def value(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """What a tensor stands for, where it is known."""
        flat = self._values.get(tensor.untyped_storage()._cdata)
        if flat is None or flat.dtype != tensor.dtype:
            return None
        return flat.as_strided(tensor.shape, tensor.stride(), tensor.storage_offset())

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is torch.ops.aten._local_scalar_dense.default:
            known = args[0] if args[0].device.type != "meta" else self.value(args[0])
            if known is not None:
                return known.item()
        out = func(*args, **kwargs)
        made = [leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)]
        for tensor in made:
            self.hold(tensor)
        if made and made[0].device.type == "meta":
            self._compute(func, args, kwargs, made)
        return out

    def _compute(self, func: Any, args: Any, kwargs: Any, made: list[torch.Tensor]) -> None:
        """Do for real what was done on the meta device, where that is small and all that goes in is known."""
        new = [t for t in made if t.untyped_storage()._cdata not in self._values]
        written = func._schema.is_mutable
        if not (new or written) or any(t.is_floating_point() or t.numel() > COMPUTED for t in made):
            return
        given = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
        known = {id(t): t if t.device.type != "meta" else self.value(t) for t in given}
        if any(value is None for value in known.values()) or torch.Tag.nondeterministic_seeded in func.tags:
            return
        args, kwargs = tree_map_only(torch.Tensor, lambda t: known[id(t)], (args, kwargs))
        if "device" in kwargs:
            kwargs = kwargs | {"device": torch.device("cpu")}
        results = [leaf for leaf in tree_leaves(func(*args, **kwargs)) if isinstance(leaf, torch.Tensor)]
        for tensor, result in zip(made, results, strict=True):
            if tensor.untyped_storage()._cdata not in self._values:
                self.tell(tensor, result)

    def _forget(self, key: int) -> Callable[[Any], None]:
        def died(_: Any) -> None:
            size, _ref = self._sizes.pop(key)
            self._values.pop(key, None)
            self.live -= size

        return died
