"""TRL as the oracle: the labels that its collator makes, and the losses of its steps, are ours."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lftreg.models.base import find_base
from lftreg.models.load import Loaded, load_base
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import Row
from lftreg.plugins.types import Example, Message
from lftreg.training.events import Event, Stepped
from lftreg.training.loop import fit
from lftreg.training.settings import Settings

pytest.importorskip("trl")
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # six seconds to import

EXAMPLES = [
    Example(
        (
            *((Message("system", "Be brief."),) if n % 4 == 0 else ()),
            *(
                message
                for turn in range(1 + n % 3)
                for message in (
                    Message("user", f"Where is parcel {n}, day {turn}?"),
                    Message("assistant", f"On van {n}. " * (1 + (n + turn) % 4)),
                )
            ),
        )
    )
    for n in range(16)
]


@pytest.fixture
def loaded(tiny_llama: Path) -> Loaded:
    return load_base(find_base(str(tiny_llama)))


def adapted(loaded: Loaded) -> Any:
    """The same first factors for both, the second ones not zero, so that the first step moves both."""
    torch.manual_seed(0)
    lora = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(loaded.model, lora)
    for name, parameter in model.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(parameter, std=0.02)
    return model


class Recorded(Causal):
    """Keeps the batches that a loop asks the loss of in training."""

    def __init__(self, loaded: Loaded) -> None:
        super().__init__(loaded.chat)
        self.batches: list[tuple[Row, ...]] = []

    def loss_sum(self, model: Any, rows: Sequence[Row]) -> torch.Tensor:
        if model.training:
            self.batches.append(tuple(rows))
        return super().loss_sum(model, rows)


def steps_of_ours(model: Any, objective: Causal, rows: Sequence[Row], settings: Settings) -> list[Stepped]:
    events: list[Event] = []
    fit(model, objective, rows, rows[:4], settings.resolved(10**5, len(rows)), events.append)
    return [event for event in events if isinstance(event, Stepped)]


def trainer_of_trl(
    model: Any,
    loaded: Loaded,
    examples: Sequence[Example],
    folder: Path,
    rates: Sequence[float],
    **sizes: int,
) -> Any:
    """An SFTTrainer over these rows in this order, with these learning rates, one a step."""
    from datasets import Dataset
    from trl import SFTConfig, SFTTrainer

    optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), lr=1.0, weight_decay=0)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: [*rates, 0.0][step])
    turns = [[{"role": m.role, "content": m.content} for m in example.messages] for example in examples]
    arguments = SFTConfig(
        output_dir=str(folder), assistant_only_loss=True, max_steps=len(rates), logging_steps=1, bf16=False,
        train_sampling_strategy="sequential", max_grad_norm=1.0, max_length=256, report_to="none",
        save_strategy="no", use_cpu=True, gradient_checkpointing=False, disable_tqdm=True, **sizes,
    )  # fmt: skip
    return SFTTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_dict({"messages": turns}),
        processing_class=loaded.tokenizer, optimizers=(optimizer, schedule),
    )  # fmt: skip


def test_labels_are_those_of_trl_id_for_id(loaded: Loaded, tmp_path: Path) -> None:
    rows = Causal(loaded.chat).encode(EXAMPLES, 256, "train").rows
    trainer = trainer_of_trl(adapted(loaded), loaded, EXAMPLES, tmp_path, [1e-3])
    batch = trainer.data_collator([trainer.train_dataset[n] for n in range(len(rows))])
    for row, ids, labels in zip(rows, batch["input_ids"].tolist(), batch["labels"].tolist(), strict=True):
        assert list(row.ids) == ids[: len(row.ids)]
        assert list(row.labels) == labels[: len(row.ids)]
        assert set(labels[len(row.ids) :]) <= {-100}


@pytest.mark.parametrize(("batch_size", "accumulate"), [(8, 1), (2, 4)], ids=["whole", "accumulated"])
def test_losses_of_steps_are_those_of_trl(
    loaded: Loaded, tmp_path: Path, batch_size: int, accumulate: int
) -> None:
    """Ours runs first and is recorded: its batches, in their order, and its learning rates are given to TRL."""
    objective = Recorded(loaded)
    rows = objective.encode(EXAMPLES, 256, "train").rows
    model = adapted(loaded)
    theirs = copy.deepcopy(model)
    settings = Settings(lr=1e-2, batch_size=batch_size, accumulate=accumulate, max_steps=12, patience=99)
    ours = steps_of_ours(model, objective, rows, settings)
    assert [len(batch) for batch in objective.batches] == [batch_size] * 12 * accumulate

    said = dict(zip(rows, EXAMPLES, strict=True))
    ordered = [said[row] for batch in objective.batches for row in batch]
    trainer = trainer_of_trl(
        theirs, loaded, ordered, tmp_path, [step.lr for step in ours],
        per_device_train_batch_size=batch_size, gradient_accumulation_steps=accumulate,
    )  # fmt: skip
    trainer.train()
    told = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert [step.loss for step in ours] == pytest.approx(told, rel=1e-4)
    assert ours[-1].loss < 0.9 * ours[0].loss
    moved = {n: p for n, p in model.named_parameters() if p.requires_grad}
    for name, parameter in trainer.model.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(parameter, moved[name], rtol=1e-3, atol=1e-4)
