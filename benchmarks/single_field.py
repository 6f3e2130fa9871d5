"""The tools of the field that benchmarks/single.py measures, watched from outside: nothing that they do is changed."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from single_watch import Asked, Watch, rows_of
from training_bases import LINEAR, PAD, RATE, SHAPES, SPECIAL, STOP, base_of, reset_peak

TUTORIAL = ("q_proj", "v_proj")
PACKED = {"packing": True, "packing_strategy": "wrapped", "gradient_checkpointing": False}
APART = PACKED | {"packing_strategy": "bfd"}


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
