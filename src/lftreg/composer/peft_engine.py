"""The engine that is PEFT: the parents on a skeleton of their base, merged by it, written to one file."""

from __future__ import annotations

import logging
import math
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.composer.inspection import LayerReport, inspect
from lftreg.composer.kitchen import Kitchen, Made, ahead, distinct, kept, one_blas_thread
from lftreg.composer.layers import Pair
from lftreg.composer.listening import Check, Listener, anything, silent
from lftreg.composer.parents import Parent, Slot, keys_of, read_slots
from lftreg.composer.plan import Plan
from lftreg.composer.report import Totals
from lftreg.composer.settings import read_settings
from lftreg.errors import Incompatible, InvalidData, LftregError, cannot_write
from lftreg.models.configs import plain_config
from lftreg.models.saving import save_tensors
from lftreg.models.skeleton import build_skeleton
from lftreg.registry import WEIGHTS, Registry
from lftreg.registry.staging import Stage
from lftreg.tensors import Source, read_header

if TYPE_CHECKING:
    from torch import Tensor

NAME = "lftreg_merged"
PIECE = 1 << 22  # bytes
_A = re.compile(r"(?<=\.lora_)(?P<kind>embedding_)?A(?P<end>\.weight)?$")
PATH = re.compile(r"\.lora_(embedding_)?[AB](\.weight)?$")


def run(
    plan: Plan, registry: Registry, stage: Stage, listen: Listener = silent, check: Check = anything
) -> Made:
    """Compose a plan by PEFT and measure what was written. Raises what the factors engine raises."""
    listen("checking the parents")
    for parent in distinct(plan):
        registry.weights(parent.version)
    listen("loading PEFT")
    file = stage.folder / WEIGHTS
    config = merge(plan, file)
    listen("measuring the error")
    totals = measured(plan, file, config)
    with stage.streaming() as stream, file.open("rb") as written:
        while piece := written.read(PIECE):
            stream.write(piece)
        return kept(stream, config, totals, check)


def measured(plan: Plan, file: Path, config: Mapping[str, Any]) -> Totals:
    """Every layer of a written file against the weighted sum of its parents."""
    import numpy as np

    slots = read_result(plan, file, config)
    with one_blas_thread(), ExitStack() as stack:
        kitchen = Kitchen(plan, stack)
        result = stack.enter_context(Source(file))

        def inspected(path: str) -> LayerReport:
            layer, (key_a, key_b) = plan.layers[path], slots[path].keys
            a = result.read(key_a).reshape(-1, layer.inputs)
            b = result.read(key_b).reshape(layer.outputs, -1)
            written = Pair(b, a, np.full(len(a), slots[path].scale))
            return inspect(kitchen.read(path), written, len(plan.parents))

        with closing(ahead(inspected, list(plan.layers), kitchen.threads)) as layers:
            totals = Totals()
            for layer in layers:
                totals.add(layer)
            return totals


def merge(plan: Plan, file: Path) -> dict[str, Any]:
    """Merge the parents of a plan into a safetensors file, and return its PEFT configuration.

    Neither the base's weights nor its configuration are read. All is computed in float32, whatever
    the parents are kept in, and rounded once, to the plan's dtype. Same plan, same bytes.
    """
    import torch

    for library in ("bitsandbytes", "peft"):
        logging.getLogger(library).setLevel(logging.ERROR)
    # PEFT starts new factors at random before it fills them: nobody's generator is to move for that.
    with torch.random.fork_rng(devices=[]), torch.no_grad(), warnings.catch_warnings(), _one_thread():
        warnings.simplefilter("ignore")
        torch.manual_seed(0)
        model, names = _load(plan)
        weights = [parent.weight for parent in plan.ordered]
        assert plan.method.merge is not None
        try:
            plan.method.merge(model, names, weights, NAME, **plan.options)
        except (ValueError, TypeError, RuntimeError) as error:
            raise Incompatible(
                f"PEFT cannot merge these adapters by {plan.method.name}: {str(error).splitlines()[0]}",
                "--method cat --engine factors adds up any parents",
                code="peft-refuses",
            ) from error
        if NAME not in model.peft_config:
            raise LftregError(f"method {plan.method.name!r} made no adapter", "report it to its author")
        config = _config(plan, model.peft_config[NAME])
        _write(_factors(plan, model, config), file)
    return config


@contextmanager
def _one_thread() -> Iterator[None]:
    """torch in one thread: how many share a decomposition shows in its last bits, and so in the digest."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def read_result(plan: Plan, file: Path, config: Mapping[str, Any]) -> Mapping[str, Slot]:
    """The layers of a written file, which must be those of the parents, each in its shape."""
    who = f"the result of method {plan.method.name!r}"
    slots = read_slots(read_header(file).tensors, read_settings(config, who), who)
    if {path: slot.layer for path, slot in slots.items()} != dict(plan.layers):
        raise LftregError(f"{who} adapts other layers than its parents", "report it to its author")
    return slots


def _load(plan: Plan) -> tuple[Any, list[str]]:
    """A PEFT model of the skeleton with every parent on it, in float32."""
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    parents = plan.ordered
    names = [f"lftreg_parent_{number}" for number in range(len(parents))]
    model: Any = None
    for name, parent in zip(names, parents, strict=True):
        config = LoraConfig(**_plain(parent))
        if model is None:
            skeleton = build_skeleton(plan.layers.values())
            model = get_peft_model(skeleton, config, adapter_name=name, low_cpu_mem_usage=True)
        else:
            model.add_adapter(name, config, low_cpu_mem_usage=True)
        loaded = set_peft_model_state_dict(model, _read(parent), adapter_name=name, low_cpu_mem_usage=True)
        lacking = [key for key in loaded.missing_keys if f".{name}" in key]
        if lacking or loaded.unexpected_keys:
            raise RuntimeError(f"PEFT did not take {(lacking or loaded.unexpected_keys)[0]}")
    return model, names


def _plain(parent: Parent) -> dict[str, Any]:
    """A configuration that computes the same as the parent's own, and holds nothing that PEFT would take
    from one parent for all: its layers by full path, their ranks and scales one by one.
    """
    slots, rank = parent.slots, parent.rank
    exact = {path: f"^{re.escape(path)}" for path in slots}
    return {
        "r": rank,
        "lora_alpha": rank,
        "target_modules": "|".join(re.escape(path) for path in slots),
        "rank_pattern": {exact[path]: slot.rank for path, slot in slots.items() if slot.rank != rank},
        "alpha_pattern": {
            exact[path]: slot.scale * slot.rank
            for path, slot in slots.items()
            if slot.scale * slot.rank != rank
        },
        "init_lora_weights": True,
        "inference_mode": True,
    }


def _read(parent: Parent) -> dict[str, Any]:
    """The factors of a parent in float32. Raises InvalidData for one that is not a number."""
    from safetensors import safe_open

    tensors = {}
    with safe_open(parent.file, framework="pt") as file:
        for key in file.keys():  # noqa: SIM118 no mapping
            tensor = file.get_tensor(key).float()
            if not bool(tensor.isfinite().all()):
                raise InvalidData(
                    f"{parent.version.ref} holds numbers that are none (NaN or infinity) in {key}",
                    "it was damaged in training; compose an earlier version",
                    code="not-finite",
                )
            tensors[key] = tensor * _share(parent, key)
    return tensors


def _share(parent: Parent, key: str) -> float:
    """What a factor counts beyond the parent's one weight, which is all that PEFT knows: half of it in A, half in B."""
    path = PATH.sub("", key).removeprefix("base_model.model.")
    ratio = parent.at(path) / parent.weight if parent.weight else 0.0
    return math.sqrt(abs(ratio)) * (-1 if ratio < 0 and "_B" in key else 1)


def _pairs(keys: Iterable[str]) -> list[tuple[str, str]]:
    """The names of every A and its B in a PEFT state dict, sorted."""
    return [(key, _A.sub(r"\g<kind>B\g<end>", key)) for key in sorted(keys) if _A.search(key)]


def _widened(factor: Tensor, rank: int, axis: int) -> Tensor:
    """A factor with zeros up to `rank`: a file has one rank for all layers, or PEFT cannot load it."""
    import torch

    shape = list(factor.shape)
    shape[axis] = rank - shape[axis]
    return torch.cat([factor, factor.new_zeros(shape)], axis) if shape[axis] > 0 else factor


def _config(plan: Plan, made: Any) -> dict[str, Any]:
    """PEFT's configuration of the result, with the targets that its parents had."""
    return plain_config(made, plan.base.id) | {
        "fan_in_fan_out": any(parent.settings.transposed for parent in plan.parents),
        "target_modules": plan.targets,
        "task_type": plan.task,
    }


def _factors(plan: Plan, model: Any, config: Mapping[str, Any]) -> dict[str, Any]:
    """The tensors of the result, in the plan's dtype, every factor as wide as the configuration says."""
    import torch
    from peft import get_peft_model_state_dict

    made = get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
    settings = read_settings(config, f"the result of method {plan.method.name!r}")
    path_of = {keys_of(layer)[0]: path for path, layer in plan.layers.items()}
    dtype = getattr(torch, plan.dtype)
    tensors = dict(made)
    for a, b in _pairs(made):
        rank = settings.rank(path_of.get(a, a))
        tensors[a], tensors[b] = _widened(made[a], rank, 0), _widened(made[b], rank, 1)
    tensors = {key: tensor.to(dtype).contiguous() for key, tensor in sorted(tensors.items())}
    broken = next((key for key, tensor in tensors.items() if not bool(tensor.isfinite().all())), None)
    if broken is not None:
        raise Incompatible(
            f"the result does not fit {plan.dtype}: {broken} overflows",
            "smaller weights, or --dtype float32",
            code="overflow",
        )
    return tensors


def _write(tensors: dict[str, Any], file: Path) -> None:
    try:
        save_tensors(tensors, file, {"format": "pt"})
    except OSError as error:
        raise cannot_write(str(file), error) from error
