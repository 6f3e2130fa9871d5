"""Checkpoints: everything that the next step depends on, in one file that is whole or not there.

A checkpoint is written beside its place, made durable, and renamed into it, so a kill in mid-save leaves the one
before. That one is kept too, for a disk that damages the newest: each file carries a sha256 of its tensors.
Factors, optimizer, generators and counters are stored as they are, so that what goes on from a checkpoint
equals, bit for bit, what was never interrupted (on one machine, in float32 on a CPU).
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.errors import STORAGE_CODES, InvalidData, LftregError, StorageError
from lftreg.models.saving import save_tensors
from lftreg.outputs import sync_folder
from lftreg.tensors import Header
from lftreg.tensors.private import header_of_handle, opened_regular
from lftreg.training.learner import Learner
from lftreg.training.state import State

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]

NEWEST, BEFORE = "checkpoint.safetensors", "checkpoint-before.safetensors"
EVERY = 20.0  # seconds between checkpoints, at least
# What a checkpoint holds; the rest of a name is told by the learner, which knows its own.
_NAMES = re.compile(r"(best|factor|optimizer|random)\.[\w.]+")
_DTYPES = ("F32", "F16", "BF16", "F64", "U8", "I64")
DEAREST = 20.0  # so many times what a save takes has to pass before the next


class Keeper:
    """Saves a run's checkpoints to its folder, and brings the newest whole one back.

    A save is due after EVERY seconds, or after as many steps as `every` says; it never takes more than a
    twentieth of the time.
    """

    def __init__(self, folder: Path, every: int | None = None, many: int = 1) -> None:
        """`many` runs share the machine, and all of them save."""
        self.folder = folder
        self.every = every
        self.many = many
        self._saved_at = time.monotonic()
        self._took = 0.0

    def due(self, step: int) -> bool:
        """Whether it is time for another checkpoint."""
        if self.every is not None:
            return step % self.every == 0
        return time.monotonic() - self._saved_at > max(EVERY, DEAREST * self._took * self.many)

    def save(self, learner: Learner, state: State, best: Mapping[str, torch.Tensor]) -> None:
        """Write a checkpoint of this moment. Only the first process writes; the others hand in their generators."""
        generators = _gathered(learner)
        started = time.monotonic()
        if learner.accelerator.is_main_process:
            tensors = {f"best.{name}": tensor for name, tensor in best.items()}
            tensors |= {f"factor.{name}": p.detach().cpu() for name, p in learner.named.items()}
            tensors |= _of_optimizer(learner.optimizer)
            tensors |= generators
            self._write(tensors, state)
        self._saved_at = time.monotonic()
        self._took = self._saved_at - started

    def restore(self, learner: Learner) -> tuple[State, Tensors, bool] | None:
        """Put the newest whole checkpoint into a learner, or None where there is none.

        Returns the state, the best factors, and whether the newest file was damaged, so that the one before it
        had to do. Raises InvalidData where files are there and none is whole, or they belong to another run.
        """
        found = [path for path in (self.folder / NEWEST, self.folder / BEFORE) if path.is_file()]
        for path in found:
            read = _read(path)
            if read is not None:
                tensors, state = read
                self._load(learner, tensors, state)
                return state, _under(tensors, "best."), path.name == BEFORE and len(found) > 1
        if found:
            raise InvalidData(
                f"the checkpoints in {self.folder} are damaged",
                "train anew, without --resume",
                code="damaged-checkpoint",
            )
        return None

    def _write(self, tensors: Tensors, state: State) -> None:
        place, scratch = self.folder / NEWEST, self.folder / f".{NEWEST}.{os.getpid()}"
        whole = {name: tensor.contiguous() for name, tensor in sorted(tensors.items())}
        metadata = {"state": json.dumps(state.as_dict()), "sha256": _digest(whole)}
        try:
            save_tensors(whole, scratch, metadata)
            with scratch.open("r+b") as file:
                os.fsync(file.fileno())
            if place.exists():
                place.replace(self.folder / BEFORE)
            scratch.replace(place)
            sync_folder(self.folder)
        except OSError as error:
            with suppress(OSError):
                scratch.unlink(missing_ok=True)
            raise StorageError(
                f"no checkpoint can be saved in {self.folder}: {error.strerror or error}",
                "free some space, then `lftreg train --resume`",
                code=STORAGE_CODES.get(error.errno or 0),
            ) from error

    def _load(self, learner: Learner, tensors: Tensors, state: State) -> None:
        import torch

        factors = _under(tensors, "factor.")
        shapes = {name: p.shape for name, p in learner.named.items()}
        if shapes != {name: tensor.shape for name, tensor in factors.items()}:
            raise InvalidData(
                "the checkpoint holds another adapter than the run",
                "train anew, without --resume",
                code="other-checkpoint",
            )
        with torch.no_grad():
            for name, parameter in learner.named.items():
                parameter.copy_(factors[name])
        _to_optimizer(learner.optimizer, _under(tensors, "optimizer."))
        process = learner.accelerator.process_index
        mine = sorted(_under(tensors, f"random.{process}.").items())
        if mine:
            learner.subject.set_random_state([tensor for _, tensor in mine])
        learner.micro = state.micro
        if state.checkpointing and not learner.subject.checkpointing:
            learner.subject.checkpoint_gradients()


def step_of(path: Path) -> int | None:
    """The step of a checkpoint by its header alone, which costs no torch; None where there is none to read."""
    state = state_of(path)
    return None if state is None else state.step


def state_of(path: Path) -> State | None:
    """The whole state of a checkpoint, by its header alone."""
    try:
        return State.from_dict(json.loads(_header(path).metadata["state"]))
    except (LftregError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _of_optimizer(optimizer: Any) -> Tensors:
    """AdamW's moments and step counts as tensors by name."""
    state: Mapping[int, Mapping[str, torch.Tensor]] = optimizer.state_dict()["state"]
    return {
        f"optimizer.{number}.{key}": tensor.detach().cpu()
        for number, moments in state.items()
        for key, tensor in moments.items()
    }


def _to_optimizer(optimizer: Any, tensors: Tensors) -> None:
    state: dict[int, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    whole = optimizer.state_dict()
    whole["state"] = state
    optimizer.load_state_dict(whole)


def _gathered(learner: Learner) -> Tensors:
    """The generators of every process."""
    mine = learner.subject.random_state()
    if learner.accelerator.num_processes == 1:
        every = [mine]
    else:
        from accelerate.utils import gather_object

        every = gather_object([mine])
    return {
        f"random.{process}.{number}": tensor
        for process, states in enumerate(every)
        for number, tensor in enumerate(states)
    }


def _read(path: Path) -> tuple[Tensors, State] | None:
    """The tensors and the state of a file, or None where it is not what was written."""
    from safetensors import SafetensorError, safe_open

    try:
        _header(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 no mapping
        if _digest(tensors) != metadata.get("sha256") or not _is_finite(tensors):
            return None
        return tensors, State.from_dict(json.loads(metadata["state"]))
    except (SafetensorError, LftregError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return None


def _header(path: Path) -> Header:
    """The header of a checkpoint, under the limits of the gate. Raises InvalidData for what is none of ours."""
    with opened_regular(path) as (handle, seen):
        header = header_of_handle(handle, seen.st_size, path, ours=True)
    for name, info in header.tensors.items():
        if not _NAMES.fullmatch(name) or info.dtype not in _DTYPES:
            raise InvalidData(
                f"{path.name} holds {name!r:.80}, which is no part of a run", code="damaged-checkpoint"
            )
    return header


def _is_finite(tensors: Tensors) -> bool:
    """Whether the factors are numbers: a run that lost them stops before it saves."""
    factors = [tensor for name, tensor in tensors.items() if name.startswith(("best.", "factor."))]
    return all(bool(tensor.isfinite().all()) for tensor in factors)


def _digest(tensors: Tensors) -> str:
    """sha256 over names and bytes, in the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].reshape(-1).contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _under(tensors: Tensors, prefix: str) -> Tensors:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
