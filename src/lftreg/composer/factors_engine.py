"""The engine without torch and PEFT: every layer is read, mixed, rounded, written and measured as a whole.

Layers are computed by a few threads, each with a BLAS of one thread, and written in one order: the bytes
do not depend on how many there are. Reading is checked against the parents' digests at the same time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any

from lftreg.composer import wide
from lftreg.composer.inspection import LayerReport, inspect
from lftreg.composer.kitchen import Kitchen, Made, ahead, distinct, keep_freed_memory, kept, one_blas_thread
from lftreg.composer.layers import Grams, Pair, Part, Stack, all_finite, grams_of
from lftreg.composer.listening import Check, Listener, anything, silent
from lftreg.composer.lowrank import EXACT_UP_TO, Spectrum, cut, decompose
from lftreg.composer.parents import keys_of
from lftreg.composer.plan import Plan
from lftreg.composer.report import Totals
from lftreg.errors import Incompatible, InvalidData
from lftreg.models.skeleton import Layer
from lftreg.registry import Registry
from lftreg.registry.staging import Stage
from lftreg.tensors import NAMES, from_float32, header_bytes, to_float32

if TYPE_CHECKING:
    from lftreg.composer.layers import Floats

WIDE = 1 << 21  # numbers of a stack above which cat goes through it in blocks
LARGE = 1 << 19  # numbers of a stack above which cat holds one at a time
LOSS = 0.01  # what rank="auto" may lose of the sum, by its Frobenius norm over all layers


def run(
    plan: Plan,
    registry: Registry,
    stage: Stage,
    listen: Listener = silent,
    check: Check = anything,
    *,
    measure: bool = True,
) -> Made:
    """Compose a plan by factors, streaming into a stage of the registry's store.

    Raises InvalidData for a parent that holds what is no number, CheckFailed for one whose file has changed,
    Incompatible where the result does not fit its dtype, StorageError where the disk is full; nothing is left.
    """
    with ExitStack() as stack:
        keep_freed_memory()
        stack.enter_context(one_blas_thread())
        kitchen = Kitchen(plan, stack)
        with stage.streaming() as stream, ThreadPoolExecutor(1) as checker:
            checked = [checker.submit(registry.weights, parent.version) for parent in distinct(plan)]
            try:
                rank = _rank(kitchen, listen)
                stream.write(_header(plan, rank))
                totals = _write(kitchen, rank, stream.write, listen, measure)
            except InvalidData:
                _await(checked)  # numbers that are none may be damage, which is the better thing to tell
                raise
            except BaseException:
                for one in checked:
                    one.cancel()
                raise
            _await(checked)
            return kept(stream, config_of(plan, rank), totals, check)


def _await(checked: Sequence[Future[Any]]) -> None:
    for one in checked:
        one.result()


def _rank(kitchen: Kitchen, listen: Listener) -> int:
    """The rank of the result: as asked, or as found in a first pass over the layers' spectra."""
    plan = kitchen.plan
    if not plan.method.truncates:
        return max(map(kitchen.rank, plan.layers))
    wanted = plan.options.get("rank")
    if isinstance(wanted, int):
        return wanted
    if wanted is None:
        return max(parent.rank for parent in plan.parents)
    listen("finding the rank")

    def spectrum(path: str) -> Spectrum:
        import numpy as np

        pair = kitchen.mix(kitchen.read(path))
        c = np.ones(pair.rank) if pair.c is None else pair.c
        return decompose(grams_of(pair.b, pair.a), c).spectrum

    with closing(ahead(spectrum, list(plan.layers), kitchen.threads)) as found:
        spectra = list(found)
    loss = 0.0 if wanted == "full" else float(plan.options.get("max_error", LOSS))
    return smallest_rank(spectra, loss)


def smallest_rank(spectra: Sequence[Spectrum], loss: float) -> int:
    """The least rank, for all layers alike, that loses at most `loss` of the whole by its Frobenius norm."""
    longest = max(len(one.values) for one in spectra)
    allowed = max(loss**2, 1e-15) * math.fsum(one.energy for one in spectra)
    low, high = 1, longest
    while low < high:
        middle = (low + high) // 2
        if math.fsum(one.lost(middle) for one in spectra) <= allowed:
            high = middle
        else:
            low = middle + 1
    return low


def config_of(plan: Plan, rank: int) -> dict[str, Any]:
    """A PEFT configuration of one rank, and a scale of 1, for all layers."""
    return {
        "alpha_pattern": {},
        "base_model_name_or_path": plan.base.id,
        "bias": "none",
        "fan_in_fan_out": any(parent.settings.transposed for parent in plan.parents),
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": rank,
        "lora_dropout": 0.0,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": rank,
        "rank_pattern": {},
        "target_modules": plan.targets,
        "task_type": plan.task,
        "use_dora": False,
        "use_rslora": False,
    }


def _header(plan: Plan, rank: int) -> bytes:
    dtype = NAMES[plan.dtype]
    tensors = {}
    for layer in plan.layers.values():
        (key_a, shape_a), (key_b, shape_b) = layer_shapes(layer, rank)
        tensors[key_a], tensors[key_b] = (dtype, shape_a), (dtype, shape_b)
    return header_bytes(tensors, {"format": "pt"})


def layer_shapes(layer: Layer, rank: int) -> tuple[tuple[str, tuple[int, ...]], tuple[str, tuple[int, ...]]]:
    """The names and shapes of A and B of a layer, as PEFT keeps them."""
    key_a, key_b = keys_of(layer)
    kernel = layer.kernel
    shape_a = (rank, layer.inputs // math.prod(kernel), *kernel)
    return (key_a, shape_a), (key_b, (layer.outputs, rank, *(1 for _ in kernel)))


def _write(
    kitchen: Kitchen, rank: int, write: Callable[[Any], None], listen: Listener, measure: bool
) -> Totals:
    """Every layer in its place."""
    plan, totals = kitchen.plan, Totals()
    dtype = NAMES[plan.dtype]
    parents = len(plan.parents)

    def layer(path: str) -> tuple[Any, Any, LayerReport | None] | None:
        if plan.method.streams and kitchen.numbers(path) > WIDE:
            return None
        stack = kitchen.read(path)
        made, grams, spectrum = _mixed(kitchen, stack, rank)
        made = _filled(made.settled(), rank)
        a, b = (_rounded(x, dtype, path, plan) for x in (made.a, made.b))
        if not measure:
            return a, b, None
        written = Pair(_back(b, dtype), _back(a, dtype))
        return a, b, inspect(stack, written, parents, grams, spectrum)

    large = plan.method.streams and max(map(kitchen.numbers, plan.layers)) > LARGE
    threads = 1 if large else kitchen.threads
    with closing(ahead(layer, list(plan.layers), threads)) as made:
        for number, (path, done) in enumerate(zip(plan.layers, made, strict=True), start=1):
            if done is None:
                totals.add(_wide(kitchen, path, rank, write))
            else:
                a, b, report = done
                write(a)
                write(b)
                if report is not None:
                    totals.add(report)
            listen("adding up", number)
    return totals


def _mixed(kitchen: Kitchen, stack: Stack, rank: int) -> tuple[Pair, Grams | None, Spectrum | None]:
    """What is written for a layer; what was computed for that is of use to whoever measures it."""
    method = kitchen.plan.method
    pair = kitchen.mix(stack)
    if not method.truncates:
        return pair, None, None
    of_the_sum = pair.a is stack.a and pair.b is stack.b and pair.rank <= EXACT_UP_TO
    grams = grams_of(stack.b, stack.a) if of_the_sum else None
    made, spectrum = cut(pair, rank, stack.path, grams)
    return made, grams, spectrum if of_the_sum else None


def _filled(pair: Pair, rank: int) -> Pair:
    """Zeros up to the rank that all layers have."""
    import numpy as np

    lacking = rank - pair.rank
    if lacking <= 0:
        return pair
    return Pair(np.pad(pair.b, ((0, 0), (0, lacking))), np.pad(pair.a, ((0, lacking), (0, 0))))


def _rounded(values: Floats, dtype: str, path: str, plan: Plan) -> Any:
    made = from_float32(values, dtype)
    if not all_finite(_back(made, dtype)):
        raise Incompatible(
            f"the result does not fit {plan.dtype}: {path} overflows",
            "smaller weights" if plan.dtype == "float32" else "smaller weights, or --dtype float32",
            code="overflow",
        )
    return made


def _back(values: Any, dtype: str) -> Floats:
    """What somebody reads who reads what was written."""
    import numpy as np

    if dtype == "F32":
        return values  # type: ignore[no-any-return]
    made = np.empty(values.shape, np.float32)
    to_float32(values.view(np.uint8).reshape(-1), dtype, made.reshape(-1))
    return made


def _wide(kitchen: Kitchen, path: str, rank: int, write: Callable[[Any], None]) -> LayerReport:
    """A layer of cat that is not held in memory."""
    plan = kitchen.plan
    layer, dtype = plan.layers[path], NAMES[plan.dtype]
    opened = kitchen.parts(path)
    found = {part.key: (source, slot) for source, slot, part in opened}
    parts = [part for _, _, part in opened]

    def read(part: Part, which: int, start: int, stop: int | None) -> Floats:
        source, slot = found[part.key]
        values = source.read(slot.keys[which], start, stop)
        if not all_finite(values):
            raise kitchen.spoiled(part.key, path)
        return values.reshape(len(values), -1)

    def put(values: Floats) -> Floats:
        made = _rounded(values, dtype, path, plan)
        write(made)
        return _back(made, dtype)

    return wide.write_cat(
        path,
        (layer.outputs, layer.inputs),
        parts,
        lambda part: read(part, 0, 0, None),
        lambda part, start, stop: read(part, 1, start, stop),
        put,
        rank=rank,
        parents=len(plan.parents),
    )
