"""An adapter written into its base: a whole model in a folder, which needs neither PEFT nor the adapter.

W + s B A, one block of rows at a time, in float32 and rounded once. No model is built and torch is not
imported: a shard of the base is copied as it is, header included, but for the rows that the adapter
changes. What is held in memory is a block per thread and the factors of a layer.

PEFT's `merge_and_unload` rounds twice where the base is in 16 bits, once what is added and once the sum;
so the two may differ by a rounding there. In float32 they agree to 1e-6.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.composer.parents import Parent, Slot, read_parent
from lftreg.errors import CheckFailed, Incompatible, InvalidData
from lftreg.models.base import SMALL_FILES, FoundBase, same_base, weight_files
from lftreg.outputs import opened, whole_output, write_at
from lftreg.registry import CONFIG, WEIGHTS, Registry, Version
from lftreg.tensors import Header, Source, TensorInfo, from_float32, read_header

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

THREADS = 2  # one waits for the disk while the other multiplies; more only take turns
BLOCK = 1 << 18  # entries that are worked on at once: 1 MiB of float32, which stays in a cache
CHUNK = 4 << 20  # bytes that are copied at once
# Multiplications of a product up to which OpenBLAS stays in the thread that asks. Its own threads wait for each
# other by spinning, which takes ten times as long as the work where other programs want the cores too.
ALONE = 1 << 18
SMALL = (*SMALL_FILES, "*.txt", "*.model", "*.tiktoken", "LICENSE*", "NOTICE*")
# With this beside it a model would be loaded as an adapter; the other lists pickles, which stay behind.
_LEFT_OUT = {"adapter_config.json", "pytorch_model.bin.index.json"}
# Families whose linear layers are Conv1D, which keeps its weight as (inputs, outputs).
_CONV1D = {"gpt2", "openai-gpt", "imagegpt", "decision_transformer"}
_CONV1D_NAMES = {"c_attn", "q_attn", "c_proj", "c_fc"}
# What a checkpoint may have before its keys and the model's paths have not, or the other way round.
_PREFIXES = ("model", "transformer", "bert", "roberta", "gpt_neox")
_FLOATS = ("F32", "F16", "BF16")
_NEVER_OVER = 2.0**100  # added to any float32 or bfloat16, less than this cannot round to infinity


@dataclass(frozen=True, slots=True)
class Fused:
    """A folder that was written. `changed` counts the tensors that the adapter is in, `copied` the others."""

    folder: Path
    changed: int
    copied: int


@dataclass(frozen=True, slots=True)
class Change:
    """What is added to one tensor of the base: `slot`'s B A, or its transpose where `turned`."""

    slot: Slot
    turned: bool


@dataclass(frozen=True, slots=True)
class Shard:
    """A file of the base, and which of its tensors change. `changes` are by key."""

    path: Path
    header: Header
    changes: Mapping[str, Change]


def fuse(version: Version, registry: Registry, output: Path) -> Fused:
    """Write the base with the adapter in it to a new folder, which transformers loads by itself.

    Every tensor keeps its name, dtype, shape and place in its file. The folder appears whole or not at all.

    Raises what `same_base` and `read_parent` raise, Incompatible where the base cannot hold the adapter's
    sum (its code tells why), CheckFailed where a stored file has changed, UsageError where `output` is
    there already, StorageError where it cannot be written.
    """
    check_files(version, registry)
    parent = mergeable(version, registry)
    base = same_base(version.base, registry, trust_code=True)  # it is copied, and nothing of it runs
    shards = plan_shards(parent, base)
    with whole_output(output) as folder:
        folder.mkdir()
        _copy_small(base, folder)
        with Source(parent.file) as factors:
            for shard in shards:
                _write_shard(shard, folder / shard.path.name, factors, version.ref)
    changed = sum(len(shard.changes) for shard in shards)
    return Fused(output, changed, sum(len(shard.header.tensors) for shard in shards) - changed)


def check_files(version: Version, registry: Registry) -> None:
    """Prove that an adapter's files are what was published. Raises CheckFailed."""
    for file in version.files:
        if file.name not in (WEIGHTS, CONFIG):
            continue
        registry.file(version, file.name)
        if not registry.blobs.is_whole(file.sha256):
            raise CheckFailed(
                f"{file.name} of {version.ref} has changed since it was stored",
                "`lftreg verify --all` tells what else has; bring it back from where it came",
                code="changed-file",
            )


def mergeable(version: Version, registry: Registry) -> Parent:
    """What can be added up can be added to a base; the reasons are the same, the way out is not."""
    try:
        return read_parent(version, 1.0, registry)
    except Incompatible as error:
        hint = "`lftreg export` writes it for PEFT, whose merge_and_unload may know how"
        if "init_lora_weights" in error.message:
            hint = error.hint or hint
        message = error.message.replace("cannot be composed", "cannot be exported this way")
        raise Incompatible(message, hint, code=error.code) from error


def plan_shards(parent: Parent, base: FoundBase) -> list[Shard]:
    """Find the tensor of every layer that the adapter changes. Raises Incompatible where one has none."""
    config = base.config
    who = parent.version.ref
    if config.get("quantization_config"):
        raise Incompatible(
            f"base {base.record.id!r} is quantized, and what is added would be lost in its rounding",
            "merge into the model that it was quantized from",
            code="quantized-base",
        )
    for slot in parent.slots.values():
        refuse_tied(slot, config, who)
    headers = {path: read_header(path) for path in weight_files(base.folder, base.record.id)}
    tensors = {key: info for header in headers.values() for key, info in header.tensors.items()}
    changes: dict[str, Change] = {}
    for path, slot in parent.slots.items():
        key = _key_of(path, tensors, config, who)
        changes[key] = _change(slot, key, tensors[key], config, parent.settings.transposed and base.code)
    if len(changes) < len(parent.slots):
        raise Incompatible(
            f"two layers of {who} are one tensor of {base.record.id}",
            "`lftreg export` writes it for PEFT",
            code="same-tensor",
        )
    return [
        Shard(path, header, {key: changes[key] for key in header.tensors if key in changes})
        for path, header in headers.items()
    ]


def refuse_tied(slot: Slot, config: Mapping[str, Any], who: str) -> None:
    """Where the embedding is the head too, one tensor cannot hold what only one of them should get.

    A configuration that says nothing of it means yes: so it was written for long.
    """
    layer = slot.layer
    text = config.get("text_config") or {}
    tied = config.get("tie_word_embeddings", text.get("tie_word_embeddings", True))
    words = config.get("vocab_size", text.get("vocab_size"))
    shared = bool(config.get("is_encoder_decoder")) and layer.embedding  # one for both sides, always
    if (tied and words in (layer.inputs if layer.embedding else layer.outputs, None)) or shared:
        raise Incompatible(
            f"{who} cannot be exported this way: it adapts {layer.path}, which shares its weight with another layer of "
            "the base, and that one would change too",
            "export it with --format peft, or train it again without that layer",
            code="tied-weights",
        )


def _key_of(path: str, tensors: Mapping[str, TensorInfo], config: Mapping[str, Any], who: str) -> str:
    """The tensor of a layer: its path, with or without the prefix of the model that it was saved from."""
    first, _, rest = path.partition(".")
    prefixes = (*_PREFIXES, config["model_type"])
    near = [rest] if first in prefixes else []
    near += [f"{prefix}.{path}" for prefix in prefixes]
    for names in ([path], near):
        found = sorted({f"{name}.weight" for name in names} & set(tensors))
        if len(found) == 1:
            return found[0]
    raise Incompatible(
        f"{who} cannot be merged: the base's files have no tensor {path}.weight",
        "the base keeps that layer in another shape than it runs in; export it with --format peft",
        code="no-such-tensor",
    )


def _change(slot: Slot, key: str, info: TensorInfo, config: Mapping[str, Any], conv1d: bool) -> Change:
    layer = slot.layer
    known = config["model_type"] in _CONV1D and layer.path.rpartition(".")[2] in _CONV1D_NAMES
    turned = layer.embedding or known or conv1d
    wanted = (layer.inputs, layer.outputs) if turned else (layer.outputs, layer.inputs)
    if info.shape != wanted:
        raise Incompatible(
            f"{key} of the base is {_size(info.shape)}, and the adapter changes {_size(wanted)}",
            "the adapter was made for another base",
            code="different-shapes",
        )
    if info.dtype not in _FLOATS:
        raise Incompatible(
            f"{key} of the base is kept as {info.dtype}, to which nothing can be added",
            "merge into a base in float32, float16 or bfloat16",
            code="base-dtype",
        )
    return Change(slot, turned)


def _size(shape: Sequence[int]) -> str:
    return " x ".join(str(length) for length in shape)


def _copy_small(base: FoundBase, folder: Path) -> None:
    """Configuration, tokenizer, templates and licences; Python only where the model cannot do without."""
    patterns = (*SMALL, *(("*.py",) if base.code else ()))
    files = {path.name: path for pattern in patterns for path in base.folder.glob(pattern)}
    for name, path in sorted(files.items()):
        if name not in _LEFT_OUT and path.is_file():
            shutil.copyfile(path, folder / name)


def _write_shard(shard: Shard, target: Path, factors: Source, who: str) -> None:
    """A copy of a shard. Its pieces lie where they lay, so threads may write them in any order."""
    with Source(shard.path) as base, opened(target) as handle:
        os.truncate(handle, shard.path.stat().st_size)
        pieces = _pieces(shard, base, factors, handle, who)
        taking, stopped = threading.Lock(), threading.Event()

        def work() -> None:
            try:
                while not stopped.is_set():
                    with taking:
                        piece = next(pieces, None)
                    if piece is None:
                        return
                    piece()
            finally:
                stopped.set()  # after an error there is nothing left to do, after the end neither

        with ThreadPoolExecutor(THREADS) as pool:
            try:
                for worker in [pool.submit(work) for _ in range(THREADS)]:
                    worker.result()
            finally:  # Ctrl-C comes here, and nobody may write on while the folder is taken away
                stopped.set()


def _pieces(
    shard: Shard, base: Source, factors: Source, handle: int, who: str
) -> Iterator[Callable[[], None]]:
    """What there is to do for a shard, from its first byte to its last."""
    at = 0
    infos = sorted(shard.header.tensors.items(), key=lambda item: item[1].start)
    for key, info in infos:
        if key not in shard.changes:
            continue
        yield from _copies(base, handle, at, info.start)
        yield from _Sum(base, handle, key, shard.changes[key], factors, who).pieces()
        at = info.stop
    yield from _copies(base, handle, at, shard.path.stat().st_size)


def _copies(base: Source, handle: int, start: int, stop: int) -> Iterator[Callable[[], None]]:
    def copy(begin: int, end: int) -> None:
        write_at(handle, base.raw(begin, end), begin)

    for begin in range(start, stop, CHUNK):
        yield lambda begin=begin: copy(begin, min(stop, begin + CHUNK))  # type: ignore[misc]


class _Sum:
    """One tensor of the base and what is added to it: left @ right, in the tensor's own layout."""

    def __init__(
        self, base: Source, handle: int, key: str, change: Change, factors: Source, who: str
    ) -> None:
        import numpy as np

        a, b = (factors.read(name) for name in change.slot.keys)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise InvalidData(
                f"{who} has a factor of {key} with entries that are no numbers",
                "`lftreg verify` checks its file",
                code="not-finite",
            )
        left, right = (a.T, b.T) if change.turned else (b, a)
        self._base, self._handle, self._key, self._who = base, handle, key, who
        self._info = base.info(key)
        self._right = np.ascontiguousarray(right)
        with np.errstate(over="ignore", invalid="ignore"):
            self._left = np.ascontiguousarray(left) * np.float32(change.slot.scale)
            most = [float(np.abs(factor).max(initial=0.0)) for factor in (self._left, self._right)]
        # Looking at every sum costs time, and float32 and bfloat16 reach so far that few adapters need it.
        self._check = self._info.dtype == "F16" or not most[0] * most[1] * change.slot.rank < _NEVER_OVER

    def pieces(self) -> Iterator[Callable[[], None]]:
        rows, columns = self._info.shape
        step = max(1, BLOCK // max(1, columns))
        for start in range(0, rows, step):
            yield lambda start=start: self._add(start, min(rows, start + step))  # type: ignore[misc]

    def _add(self, start: int, stop: int) -> None:
        import numpy as np

        weight = self._base.read(self._key, start, stop)
        before = np.isfinite(weight) if self._check else None
        with np.errstate(over="ignore", invalid="ignore"):
            weight += _product(self._left[start:stop], self._right)
            made = from_float32(weight, self._info.dtype)
        if before is not None and (before & ~np.isfinite(_seen(made))).any():
            raise Incompatible(
                f"{self._who} cannot be merged: with it {self._key} goes beyond what {self._info.dtype} can hold",
                "merge into the base in bfloat16 or float32, or export it with --format peft",
                code="overflow",
            )
        size = self._info.shape[1] * made.itemsize
        write_at(self._handle, made.reshape(-1).view(np.uint8).data, self._info.start + start * size)


def _product(left: Floats, right: Floats) -> Floats:
    """left @ right, tile by tile, each small enough to be multiplied by this thread alone."""
    import numpy as np

    (rows, rank), columns = left.shape, right.shape[1]
    made = np.empty((rows, columns), np.float32)
    width = max(1, min(columns, ALONE // (16 * rank)))
    height = max(1, ALONE // (width * rank))
    for top in range(0, rows, height):
        for side in range(0, columns, width):
            tile = np.s_[top : top + height, side : side + width]
            np.matmul(left[top : top + height], right[:, side : side + width], out=made[tile])
    return made


def _seen(made: NDArray[Any]) -> NDArray[Any]:
    """Values as numpy knows them: bfloat16 comes as bits."""
    import numpy as np

    if made.dtype != np.uint16:
        return made
    return (made.astype(np.uint32) << 16).view(np.float32)
