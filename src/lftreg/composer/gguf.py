"""An adapter as llama.cpp reads it: a GGUF file to give with `--lora` beside the base's own GGUF.

llama.cpp counts every product of factors alpha / rank, with one alpha for the file and the rank of each
pair. Where PEFT's settings say something else (rsLoRA, alpha patterns), the difference goes into B.

The base of such a file has been converted too, and some families are rearranged by that. A family is in
the table only where what happens to each of its layers is known; the others are refused by name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lftreg.composer.fuse import check_files, mergeable, refuse_tied
from lftreg.composer.parents import Parent, Slot
from lftreg.errors import Incompatible, Unavailable
from lftreg.models.base import read_base
from lftreg.outputs import whole_output
from lftreg.registry import Registry, Version
from lftreg.tensors import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Family:
    """What llama.cpp calls a family, and whether its converter rearranges the rows of queries and keys."""

    architecture: str
    permuted: bool = False


# By transformers' model_type. gpt_neox, falcon and bloom are missing on purpose: their fused queries, keys and
# values are taken apart by the converter, as are the experts of every mixture.
FAMILIES = {
    "llama": Family("llama", permuted=True),
    "mistral": Family("llama", permuted=True),
    "qwen2": Family("qwen2"),
    "qwen3": Family("qwen3"),
    "gemma": Family("gemma"),
    "gemma2": Family("gemma2"),
    "gemma3_text": Family("gemma3"),
    "phi3": Family("phi3"),
    "gpt2": Family("gpt2"),  # its factors are those of a linear layer, so nothing is to be turned
}
_WORDS = "token_embd"  # the one embedding to which llama.cpp applies an adapter


@dataclass(frozen=True, slots=True)
class Pair:
    """The factors of a layer under llama.cpp's name for its weight.

    `heads` is how many heads the rows of B are to be rearranged for, 0 for none; `factor` goes into B.
    """

    name: str
    slot: Slot
    heads: int
    factor: float


def write_gguf(version: Version, registry: Registry, output: Path) -> Path:
    """Write a LoRA adapter for llama.cpp to a new file, its factors in float32.

    Of the base only config.json is read. The file appears whole or not at all.

    Raises Unavailable where the gguf package is missing, Incompatible for a family or a layer that
    llama.cpp would take otherwise, what `read_base` and `read_parent` raise, CheckFailed where a stored file
    has changed, UsageError where `output` is there already, StorageError where it cannot be written.
    """
    gguf = _library()
    check_files(version, registry)
    parent = mergeable(version, registry)
    family = _family(version)
    _, _, config, _ = read_base(version.base.id)
    if config["model_type"] != version.base.model_type:
        raise Incompatible(
            f"base {version.base.id!r} is a {config['model_type']} now, and {version.ref} is for a "
            f"{version.base.model_type}",
            "bring the old base back",
            code="base-changed",
        )
    alpha = parent.settings.alpha or 1.0  # llama.cpp takes 0 to mean that nothing is scaled
    pairs = plan_pairs(parent, family, config, alpha, _names(gguf, family, config))
    with whole_output(output) as place, Source(parent.file) as factors:
        _write(gguf, place, version, family, alpha, pairs, factors)
    return output


def _library() -> Any:
    try:
        import gguf
    except ImportError as error:
        raise Unavailable(
            "writing a GGUF file needs the gguf package", "pip install 'lftreg[gguf]'", code="no-gguf"
        ) from error
    return gguf


def _family(version: Version) -> Family:
    family = FAMILIES.get(version.base.model_type)
    if family is None:
        raise Incompatible(
            f"{version.ref} is for a {version.base.model_type} base, whose layers lftreg cannot name for llama.cpp",
            f"families that it can: {', '.join(sorted(FAMILIES))}; --format merged writes a whole model to convert",
            code="no-gguf-family",
        )
    return family


def _names(gguf: Any, family: Family, config: Mapping[str, Any]) -> Any:
    """llama.cpp's names of layers, which it finds by a layer's path."""
    known = {name: number for number, name in gguf.MODEL_ARCH_NAMES.items()}
    if family.architecture not in known:
        raise Unavailable(
            f"this gguf package does not know {family.architecture}",
            "pip install --upgrade gguf",
            code="old-gguf",
        )
    blocks = config.get("num_hidden_layers", config.get("n_layer"))
    return gguf.get_tensor_name_map(known[family.architecture], int(blocks or 0))


def plan_pairs(
    parent: Parent, family: Family, config: Mapping[str, Any], alpha: float, names: Any
) -> list[Pair]:
    """What becomes of every layer. Raises Incompatible for one that llama.cpp has not, or takes otherwise."""
    pairs = []
    for path, slot in parent.slots.items():
        refuse_tied(slot, config, parent.version.ref)
        name = names.get_name(path)
        if name is None or (slot.layer.embedding and name != _WORDS):
            raise Incompatible(
                f"{parent.version.ref} adapts {path}, to which llama.cpp applies no adapter",
                "train it again without that layer, or export it with --format merged",
                code="no-gguf-layer",
            )
        heads = _heads(slot, name, config) if family.permuted else 0
        pairs.append(Pair(f"{name}.weight", slot, heads, slot.scale * slot.rank / alpha))
    return pairs


def _heads(slot: Slot, name: str, config: Mapping[str, Any]) -> int:
    """How many heads the rows of a layer belong to, where its rows are rearranged."""
    queries = int(config["num_attention_heads"])
    part = name.rpartition(".")[2]
    heads = {"attn_q": queries, "attn_k": int(config.get("num_key_value_heads") or queries)}.get(part, 0)
    if heads and slot.layer.outputs % (2 * heads):
        raise Incompatible(
            f"{slot.layer.path} has {slot.layer.outputs} outputs, which {heads} heads cannot share",
            "the adapter was made for another base",
            code="different-shapes",
        )
    return heads


def _write(
    gguf: Any,
    place: Path,
    version: Version,
    family: Family,
    alpha: float,
    pairs: list[Pair],
    factors: Source,
) -> None:
    import numpy as np

    logging.getLogger("gguf").setLevel(logging.WARNING)
    writer = gguf.GGUFWriter(str(place), family.architecture)
    writer.add_type("adapter")
    writer.add_name(version.ref)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for pair in pairs:
        for end, shape in zip("ab", _shapes(pair.slot), strict=True):
            size = 4 * shape[0] * shape[1]
            writer.add_tensor_info(f"{pair.name}.lora_{end}", shape, np.dtype(np.float32), size)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for pair in pairs:
            for factor in factors_of(pair, factors):
                writer.write_tensor_data(factor)
    finally:
        writer.close()


def _shapes(slot: Slot) -> tuple[tuple[int, int], tuple[int, int]]:
    a = (slot.rank, slot.layer.inputs)
    return (a[1], a[0]) if slot.layer.embedding else a, (slot.layer.outputs, slot.rank)


def factors_of(pair: Pair, factors: Source) -> tuple[Floats, Floats]:
    """A and B of a layer in llama.cpp's layout: (rank, inputs) and (outputs, rank).

    A of an embedding is (rows, rank): its rows are looked up by token.
    """
    import numpy as np

    a, b = (factors.read(key) for key in pair.slot.keys)
    if pair.slot.layer.embedding:
        a = np.ascontiguousarray(a.T)
    if pair.factor != 1:
        b *= np.float32(pair.factor)
    return a, interleaved(b, pair.heads) if pair.heads else b


def interleaved(rows: Floats, heads: int) -> Floats:
    """Rows of each head from two halves to pairs: 0, n/2, 1, n/2 + 1 and so on.

    transformers turns the first half of a head against the second, llama.cpp turns neighbours.
    """
    import numpy as np

    halves = rows.reshape(heads, 2, rows.shape[0] // heads // 2, -1)
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(rows.shape)
