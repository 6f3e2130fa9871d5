"""What benchmarks of training share: bases of random numbers, adapters of lftreg's on them, and the machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import platform
import time
from collections.abc import Sequence
from typing import Any

# hidden size, layers, heads, key-value heads, inner width, vocabulary, whether input and output share a table
SHAPES = {
    "tiny": (64, 2, 4, 2, 128, 1000, True),
    "15m": (384, 8, 6, 2, 960, 8192, True),
    "0.1b": (768, 12, 12, 4, 2048, 32000, True),
    "0.5b": (896, 24, 14, 2, 4864, 151936, True),
    "1b": (2048, 16, 32, 8, 8192, 128256, True),
    "3b": (3072, 28, 24, 8, 8192, 128256, True),
    "8b": (4096, 32, 32, 8, 14336, 128256, False),
}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PAD, STOP, SPECIAL = 0, 1, 2  # ids; those from SPECIAL on are words
RATE = 1e-5  # so small that the losses compared are those of the base, whatever the size of a tool's steps
LIBRARIES = (
    "torch", "triton", "transformers", "peft", "accelerate", "trl", "liger-kernel", "unsloth", "bitsandbytes",
)  # fmt: skip
Ids = tuple[int, ...]


def synchronised() -> float:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


def reset_peak() -> None:
    import gc

    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def peak() -> float:
    """GiB that torch had allocated at most; 0 without a GPU."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def matrix_rate() -> float:
    """FLOP/s of a square product of random numbers, in bfloat16 on a GPU: what a base could be computed with."""
    import torch

    cuda = torch.cuda.is_available()
    size, dtype, device = (8192, torch.bfloat16, "cuda") if cuda else (768, torch.float32, "cpu")
    a, b = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
    for _ in range(5):
        a @ b
    began = synchronised()
    for _ in range(20):
        a @ b
    return 20 * 2 * size**3 / (synchronised() - began)


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def base_of(shape: str, quantize: str | None = None) -> Any:
    """A base of random numbers, the same in every process; with `quantize` its layers in four bits."""
    import torch
    import transformers

    hidden, layers, heads, shared, inner, words, tied = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
        intermediate_size=inner, vocab_size=words, max_position_embeddings=32768, tie_word_embeddings=tied,
        pad_token_id=PAD, bos_token_id=None, eos_token_id=STOP,
    )  # fmt: skip
    cuda = torch.cuda.is_available()
    torch.manual_seed(0)
    with torch.device("cuda" if cuda else "cpu"):
        model = transformers.AutoModelForCausalLM.from_config(
            config, dtype=torch.bfloat16 if cuda else torch.float32
        )
    model.requires_grad_(False)
    if quantize is not None:
        in_four_bits(model, quantize)
    return model.eval()


def in_four_bits(model: Any, kind: str) -> None:
    """Layer by layer, where they are, as `from_pretrained` does with the options of lftreg.models.quantize."""
    import bitsandbytes as bnb
    import torch

    from lftreg.models.quantize import keep_differentiable, quantization

    config = quantization(kind, model.device)["quantization_config"]
    if kind != "nf4":
        raise ValueError(f"only nf4 is made here, not {kind}")
    linear = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and name.rpartition(".")[2] != "lm_head"
    ]
    for name, module in linear:
        double, shape = config.bnb_4bit_use_double_quant, (module.in_features, module.out_features)
        packed = bnb.nn.Linear4bit(
            *shape, bias=False, compute_dtype=config.bnb_4bit_compute_dtype, compress_statistics=double,
            quant_type=kind, device="meta",
        )  # fmt: skip
        packed.weight = bnb.nn.Params4bit(
            module.weight.data, requires_grad=False, compress_statistics=double, quant_type=kind
        )
        module.weight = None
        model.set_submodule(name, packed.to(model.device))
    model.is_loaded_in_4bit = True  # PEFT asks for it
    model.config.quantization_config = config
    keep_differentiable(model)


def parameters_of(shape: str) -> int:
    """How many numbers a base has, a shared table counted once."""
    import torch
    import transformers

    hidden, layers, heads, shared, inner, words, tied = SHAPES[shape]
    config = transformers.LlamaConfig(
        hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads, num_key_value_heads=shared,
        intermediate_size=inner, vocab_size=words, tie_word_embeddings=tied,
    )  # fmt: skip
    with torch.device("meta"):
        return int(transformers.AutoModelForCausalLM.from_config(config).num_parameters())


def checkpoint_gradients(model: Any) -> None:
    from lftreg.models.fresh import checkpoint_gradients

    checkpoint_gradients(model)


def shared_base(model: Any, compiling: bool = True) -> Any:
    """A base as `lftreg train` has it for a long run: on a GPU factors are stacked, and layers compiled."""
    from lftreg.training.cohort import Shared

    cuda = model.device.type == "cuda"
    return Shared(model, stacked=cuda, compiling=cuda and compiling)


def in_steps(rows: Sequence[Ids], tokens: int) -> list[list[Any]]:
    """Rows in their order, as many in a step as have `tokens` together; every token but the first is learned."""
    from lftreg.objectives.rows import IGNORED, Row

    groups: list[list[Any]] = [[]]
    room = tokens
    for ids in rows:
        if len(ids) > room and groups[-1]:
            groups.append([])
            room = tokens
        groups[-1].append(Row(ids, (IGNORED, *ids[1:])))
        room -= len(ids)
    return groups[:-1] or groups


def objective() -> Any:
    """That of a causal model, for rows of random ids: there is no tokenizer."""
    from lftreg.objectives.causal import Causal

    found = Causal.__new__(Causal)
    found.prompt_dropout, found.opening_weight, found.room = 0.0, 1.0, None
    return found


def lanes_of(model: Any, ranks: Sequence[int], most: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Fresh adapters over one base, the loop of each, and a list of what loops tell when memory runs out."""
    import torch

    from lftreg.models.fresh import add_adapter
    from lftreg.models.tasks import CAUSAL
    from lftreg.training.lanes import lane_of
    from lftreg.training.learner import Learner
    from lftreg.training.processes import make_accelerator
    from lftreg.training.settings import Settings

    accelerator, lanes, learners = make_accelerator(), [], []
    shrunk: list[Any] = []
    for number, rank in enumerate(ranks):
        torch.manual_seed(number)
        peft = add_adapter(model, CAUSAL, LINEAR, rank=rank, alpha=2 * rank)
        lane = lane_of(peft, objective=objective(), accelerator=accelerator)
        learner = Learner(lane, Settings(rank=rank, lr=RATE, batch_size=most))
        learner.tell = lambda rows, checkpointing: shrunk.append([rows, checkpointing])  # type: ignore[attr-defined]
        lanes.append(lane)
        learners.append(learner)
    return lanes, learners, shrunk


def step_of(
    shared: Any, lanes: Sequence[Any], learners: Sequence[Any], groups: Sequence[Sequence[Any]]
) -> list[float]:
    """A step of every loop on its own rows, all in the same passes; their losses."""
    from lftreg.training.cohort import Member

    members = [
        Member(lane, learner.step([list(group)], RATE, learner.tell))
        for lane, learner, group in zip(lanes, learners, groups, strict=True)
    ]
    ends = {id(member.lane): end for member, end in shared.run(members)}
    return [ends[id(lane)][0] for lane in lanes]
