"""The contestants of benchmarks/single.py, each of which runs in a process of its own, and how they are measured.

    python benchmarks/single_inside.py LETTER '{"shape": ..., ...}' RESULT.json

All train one adapter on the same rows of random ids, in the same order, over the same base of random numbers, and learn
every token. A tool's training step is watched from outside: nothing of what it does is changed.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import platform
import random
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# hidden size, layers, heads, key-value heads, inner width, vocabulary, whether input and output share a table
SHAPES = {
    "tiny": (64, 2, 4, 2, 128, 1000, True),
    "0.1b": (768, 12, 12, 4, 2048, 32000, True),
    "0.5b": (896, 24, 14, 2, 4864, 151936, True),
    "1b": (2048, 16, 32, 8, 8192, 128256, True),
    "3b": (3072, 28, 24, 8, 8192, 128256, True),
    "8b": (4096, 32, 32, 8, 14336, 128256, False),
}
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
TUTORIAL = ("q_proj", "v_proj")
PAD, STOP, SPECIAL = 0, 1, 2  # ids; those from SPECIAL on are words
SHORTEST, LONGEST, MEAN = 24, 1024, 164  # tokens of a row
RATE = 1e-5  # so small that the losses compared are those of the base, whatever the size of a tool's steps
LIBRARIES = (
    "torch", "triton", "transformers", "peft", "accelerate", "trl", "liger-kernel", "unsloth", "bitsandbytes",
)  # fmt: skip
Ids = tuple[int, ...]


@dataclass(frozen=True)
class Asked:
    """What a contestant is asked to do. A step has about `lines` x `length` tokens where the tool can fill them."""

    shape: str = "1b"
    rank: int = 16
    lines: int = 8
    length: int = LONGEST
    rows: int = 4000  # of the data
    even: bool = False  # every row is as long as a line
    quantize: str | None = None
    seconds: float = 10.0  # measured
    warm_steps: int = 5  # before them, at least
    warm_seconds: float = 3.0

    @property
    def tokens_a_step(self) -> int:
        return self.lines * self.length


@dataclass
class Watch:
    """What a run did, step by step. Losses and counts stay where they are until the end: reading them takes time."""

    asked: Asked
    losses: list[Any] = field(default_factory=list)
    tokens: list[Any] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    started: float = field(default_factory=time.perf_counter)
    warm: int | None = None  # steps before the measured ones

    def step(self, loss: Any, tokens: Any) -> None:
        self.losses.append(loss)
        self.tokens.append(tokens)

    def ended(self) -> bool:
        """Called when a step has been taken: whether that is enough."""
        now = time.perf_counter()
        asked = self.asked
        # A tool that takes a step in several parts divides the loss of each.
        while len(self.times) + 1 < len(self.losses):
            self.losses[-2:] = [self.losses[-2] + self.losses[-1]]
            self.tokens[-2:] = [self.tokens[-2] + self.tokens[-1]]
        if self.warm is None:
            if len(self.losses) >= asked.warm_steps and now - self.started >= asked.warm_seconds:
                self.warm, now = len(self.losses), synchronised()
            self.times.append(now)
            return False
        self.times.append(now)
        done = now - self.times[self.warm - 1] >= asked.seconds
        if done:
            self.times[-1] = synchronised()
        return done and len(self.losses) > self.warm

    def told(self) -> dict[str, Any]:
        if self.warm is None or len(self.times) <= self.warm:
            raise RuntimeError(f"the run ended after {len(self.losses)} steps, before it was warm")
        counts = [int(count) for count in self.tokens]
        seconds = self.times[-1] - self.times[self.warm - 1]
        measured = counts[self.warm : len(self.times)]
        spans = [b - a for a, b in zip(self.times[self.warm - 1 :], self.times[self.warm :], strict=False)]
        return {
            "tokens_a_second": sum(measured) / seconds,
            "tokens_a_step": sum(measured) / len(measured),
            "steps": len(measured),
            "seconds": seconds,
            "slowest_step": max(spans),
            "median_step": sorted(spans)[len(spans) // 2],
            "first_step_seconds": self.times[0] - self.started,
            "peak_gib": peak(),
            "losses": [[float(loss), count] for loss, count in zip(self.losses[:400], counts, strict=False)],
        }


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


def rows_of(asked: Asked) -> list[Ids]:
    """Rows of random ids, SHORTEST to LONGEST tokens long and MEAN on average, or each as long as a line."""
    dice = random.Random(0)
    words = range(SPECIAL, SHAPES[asked.shape][5])
    longest = min(LONGEST, asked.length)
    rows = []
    for _ in range(asked.rows):
        drawn = SHORTEST + int(dice.expovariate(1 / (MEAN - SHORTEST)))
        rows.append(tuple(dice.choices(words, k=asked.length if asked.even else min(drawn, longest))))
    return rows


# lftreg


def ours(
    shape: str,
    rows: Sequence[Ids],
    tokens_a_step: int,
    rank: int,
    quantize: str | None = None,
    *,
    watch: Callable[[], Watch],
    passes: int = 1,
) -> tuple[Watch, dict[str, Any]]:
    """One adapter by lftreg's own loop: rows, as many as fit, in every step, and a part of them in every pass."""
    model = base_of(shape, quantize)
    if quantize is not None:
        checkpoint_gradients(model)
    groups = in_steps(rows, tokens_a_step)
    most = max(len(group) for group in groups)
    lanes, learners, shrunk = lanes_of(model, [rank], -(-most // passes))
    reset_peak()
    seen = watch()
    with shared_base(model, compiling=quantize is None) as shared:
        for lane in lanes:
            shared.hook(lane)
        done = False
        while not done:
            for group in groups:
                losses = step_of(shared, lanes, learners, [group])
                seen.step(losses[0], sum(len(row.ids) for row in group))
                if done := seen.ended():
                    break
    return seen, {"attention": model.config._attn_implementation, "shrunk": shrunk}


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


def lanes_of(model: Any, ranks: Sequence[int], most: int) -> tuple[list[Any], list[Any], list[Any]]:
    """Fresh adapters over one base, the loop of each, and a list of what loops tell when memory runs out."""
    import torch

    from lftreg.models.fresh import add_adapter
    from lftreg.models.tasks import CAUSAL
    from lftreg.objectives.causal import Causal
    from lftreg.training.lanes import lane_of
    from lftreg.training.learner import Learner
    from lftreg.training.processes import make_accelerator
    from lftreg.training.settings import Settings

    objective = Causal.__new__(Causal)  # no tokenizer: rows are made of random ids
    objective.prompt_dropout, objective.opening_weight, objective.room = 0.0, 1.0, None
    accelerator, lanes, learners = make_accelerator(), [], []
    shrunk: list[Any] = []
    for number, rank in enumerate(ranks):
        torch.manual_seed(number)
        peft = add_adapter(model, CAUSAL, LINEAR, rank=rank, alpha=2 * rank)
        lane = lane_of(peft, objective=objective, accelerator=accelerator)
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


# the tools of the field


def tutorial(asked: Asked, folder: Path) -> tuple[Watch, dict[str, Any]]:
    """What tutorials show: four rows filled up to the longest, factors for queries and values."""
    import peft
    from transformers import DataCollatorForLanguageModeling, Trainer, TrainingArguments

    model = peft.get_peft_model(base_of(asked.shape), lora(asked, TUTORIAL))
    trainer = Trainer(
        model=model,
        args=TrainingArguments(**arguments(folder, per_device_train_batch_size=4)),
        train_dataset=dataset(asked),
        data_collator=DataCollatorForLanguageModeling(tokenizer(asked), mlm=False),
    )
    return watched(trainer, asked)


def trl(
    asked: Asked, folder: Path, base: Callable[[], Any] | None = None, *, attention: str = "", **options: Any
) -> tuple[Watch, dict[str, Any]]:
    """TRL's SFTTrainer as it is, but for `options`. A `base` has its adapter already."""
    from trl import SFTConfig, SFTTrainer

    given = arguments(folder, max_length=asked.length, **options)
    if options.get("packing"):
        given["per_device_train_batch_size"] = asked.lines
    model = base() if base else base_of(asked.shape)
    if attention:
        model.set_attn_implementation(attention)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(**given),
        train_dataset=dataset(asked),
        processing_class=tokenizer(asked),
        peft_config=None if base else lora(asked, LINEAR),
    )
    return watched(trainer, asked)


def unsloth(asked: Asked, folder: Path) -> tuple[Watch, dict[str, Any]]:
    """Unsloth's own loading and adapter, packed as c and d are, without checkpointing: the memory is there."""
    from unsloth import FastLanguageModel

    stored = folder / "base"
    base_of(asked.shape).save_pretrained(stored)
    tokenizer(asked).save_pretrained(stored)
    reset_peak()

    def base() -> Any:
        model, _ = FastLanguageModel.from_pretrained(
            str(stored), max_seq_length=asked.length, load_in_4bit=False, local_files_only=True
        )
        return FastLanguageModel.get_peft_model(
            model, r=asked.rank, lora_alpha=2 * asked.rank, target_modules=list(LINEAR), lora_dropout=0,
            bias="none", use_gradient_checkpointing=False, max_seq_length=asked.length,
        )  # fmt: skip

    return trl(asked, folder, base, **PACKED)


def arguments(folder: Path, **more: Any) -> dict[str, Any]:
    """What a run needs here whatever the tool, and no more."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "output_dir": str(folder / "out"), "learning_rate": RATE, "lr_scheduler_type": "constant",
        "max_steps": 1_000_000, "report_to": "none", "save_strategy": "no", "disable_tqdm": True,
        "bf16": cuda, "use_cpu": not cuda, "seed": 0, **more,
    }  # fmt: skip


def lora(asked: Asked, targets: Sequence[str]) -> Any:
    from peft import LoraConfig

    return LoraConfig(
        r=asked.rank, lora_alpha=2 * asked.rank, target_modules=list(targets), task_type="CAUSAL_LM"
    )


def dataset(asked: Asked) -> Any:
    """Rows that need no tokenizer any more."""
    from datasets import Dataset

    return Dataset.from_dict({"input_ids": [list(ids) for ids in rows_of(asked)]})


def tokenizer(asked: Asked) -> Any:
    """Tools want one, though there is nothing to tokenize."""
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    words = {f"w{number}": number for number in range(SPECIAL, SHAPES[asked.shape][5])}
    made = Tokenizer(
        models.WordLevel(words | {"<pad>": PAD, "</s>": STOP, "<unk>": len(words) + 2}, unk_token="<unk>")
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, pad_token="<pad>", eos_token="</s>")


def watched(trainer: Any, asked: Asked) -> tuple[Watch, dict[str, Any]]:
    """Run a trainer of transformers until the watch has seen enough. Its rows come in their order."""
    from torch.utils.data import SequentialSampler
    from transformers import TrainerCallback

    reset_peak()
    watch = Watch(asked)
    inner = trainer.training_step

    inside = [False]

    def step(model: Any, inputs: dict[str, Any], *rest: Any, **more: Any) -> Any:
        if inside[0]:  # a tool that calls itself: the rows are the same
            return inner(model, inputs, *rest, **more)
        ids, mask = inputs["input_ids"], inputs.get("attention_mask")
        count = ids.numel() if mask is None or mask.dim() != 2 else mask.sum()
        inside[0] = True
        try:
            loss = inner(model, inputs, *rest, **more)
        finally:
            inside[0] = False
        watch.step(loss.detach(), count)
        return loss

    class Look(TrainerCallback):
        def on_train_begin(self, *given: Any, **more: Any) -> None:
            watch.started = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            control.should_training_stop = watch.ended()

    trainer.training_step = step
    trainer._get_train_sampler = lambda *given: SequentialSampler(trainer.train_dataset)
    trainer.add_callback(Look())
    trainer.train()
    config = trainer.model.config
    return watch, {"attention": config._attn_implementation, "padding_free": padding_free(trainer)}


def padding_free(trainer: Any) -> bool:
    return bool(getattr(trainer, "padding_free", False))


PACKED = {"packing": True, "packing_strategy": "wrapped", "gradient_checkpointing": False}
APART = PACKED | {"packing_strategy": "bfd"}
CONTESTANTS: dict[str, tuple[str, Callable[[Asked, Path], tuple[Watch, dict[str, Any]]]]] = {
    "a": ("tutorial: Trainer, batch 4, q+v, padded", tutorial),
    "b": (
        "TRL defaults, batch 8",
        lambda asked, folder: trl(asked, folder, per_device_train_batch_size=8),
    ),
    "c": ("TRL, packed (wrapped)", lambda asked, folder: trl(asked, folder, **PACKED)),
    "d": (
        "TRL, packed (wrapped), Liger",
        lambda asked, folder: trl(asked, folder, use_liger_kernel=True, **PACKED),
    ),
    "e": ("unsloth, packed (wrapped)", unsloth),
    "f": (
        "lftreg",
        lambda asked, folder: ours(
            asked.shape, rows_of(asked), asked.tokens_a_step, asked.rank, asked.quantize,
            watch=lambda: Watch(asked),
        ),
    ),
    "i": (
        "lftreg, a step in three passes",
        lambda asked, folder: ours(
            asked.shape, rows_of(asked), asked.tokens_a_step, asked.rank, asked.quantize,
            watch=lambda: Watch(asked), passes=3,
        ),
    ),
    "g": (
        "TRL, packed (bfd: rows apart)",
        lambda asked, folder: trl(asked, folder, **APART),
    ),
    "h": (
        "TRL, packed (bfd: rows apart), flex",
        lambda asked, folder: trl(asked, folder, attention="flex_attention", **APART),
    ),
}  # fmt: skip


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    return found


def machine() -> str:
    import torch

    if torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    return f"{platform.machine()}, {torch.get_num_threads()} threads"


@contextlib.contextmanager
def told_in(path: Path) -> Iterator[dict[str, Any]]:
    """Whatever is told goes to a file, and the error that ended it too."""
    told: dict[str, Any] = {}
    try:
        yield told
    except BaseException as error:
        said = str(error).strip().splitlines()
        told["error"] = f"{type(error).__name__}: {said[0][:300] if said else ''}"
        told["traceback"] = traceback.format_exc()[-3000:]
        raise
    finally:
        path.write_text(json.dumps(told))


def main() -> None:
    letter, asked, result = sys.argv[1], Asked(**json.loads(sys.argv[2])), Path(sys.argv[3])
    began = time.perf_counter()
    with told_in(result) as told, tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # some tools leave files where they run
        if letter == "e":
            import unsloth as first  # noqa: F401 it changes what is read after it
        told |= {"machine": machine(), "versions": versions(), "matrix_rate": matrix_rate()}
        watch, about = CONTESTANTS[letter][1](asked, Path(folder))
        told |= watch.told() | about | {"parameters": parameters_of(asked.shape)}
        told["start_seconds"] = watch.started - began
        told["whole_seconds"] = time.perf_counter() - began


if __name__ == "__main__":
    main()
