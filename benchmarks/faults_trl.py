"""The script that a user of TRL would write, and what its run did: the other half of faults.py, in its own process.

python benchmarks/faults_trl.py '{"base": ..., "data": ..., "arguments": {...}, "result": ...}'
"""

from __future__ import annotations

import hashlib
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

SCRIPT_ONLY = ("targets", "test_size", "r")  # everything else is SFTConfig's


class Steps:
    """How many optimizer steps there were, even where an error ended the run."""

    made = 0


def train(asked: dict[str, Any], **changed: Any) -> Any:
    """Nothing but what the documentation of SFTTrainer shows."""
    from datasets import load_dataset
    from peft import LoraConfig
    from transformers import TrainerCallback
    from trl import SFTConfig, SFTTrainer

    class Count(TrainerCallback):
        def on_step_end(self, *given: Any, **more: Any) -> None:
            Steps.made += 1

    arguments = {"per_device_train_batch_size": 8} | asked["arguments"] | changed
    rows = load_dataset("csv" if asked["data"].endswith(".csv") else "json", data_files=asked["data"])[
        "train"
    ]
    held_out = None
    if "test_size" in arguments:
        parts = rows.train_test_split(arguments["test_size"], seed=0)
        rows, held_out = parts["train"], parts["test"]
    config: dict[str, Any] = {"bf16": False} | {k: v for k, v in arguments.items() if k not in SCRIPT_ONLY}
    trainer = SFTTrainer(
        model=asked["base"],
        args=SFTConfig(
            output_dir=asked["out"], max_steps=3, learning_rate=1e-3, logging_steps=1, report_to="none",
            use_cpu=True, save_strategy="no", seed=0, **config,
        ),
        train_dataset=rows,
        eval_dataset=held_out,
        peft_config=LoraConfig(
            r=arguments.get("r", 4), target_modules=arguments.get("targets", "all-linear"), task_type="CAUSAL_LM"
        ),
        callbacks=[Count()],
    )  # fmt: skip
    shared = len(set(rows["prompt"]) & set(held_out["prompt"])) if held_out is not None else 0
    trainer.train()
    return trainer, shared


def look(asked: dict[str, Any], trainer: Any, shared: int) -> dict[str, Any]:
    """What the run did, from its own data, collator and model."""
    tokenizer, model = trainer.processing_class, trainer.model
    rows = []
    for at in range(0, len(trainer.train_dataset), 2):  # two by two, so that one of them is padded
        some = [trainer.train_dataset[n] for n in range(at, min(at + 2, len(trainer.train_dataset)))]
        if asked["arguments"].get("packing"):
            continue
        labels = trainer.data_collator(some)["labels"].tolist()
        rows += [
            (row["input_ids"], told[: len(row["input_ids"])]) for row, told in zip(some, labels, strict=True)
        ]
    second = {n.partition(".lora_B")[0]: p for n, p in model.named_parameters() if ".lora_B." in n}
    digest = hashlib.sha256()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            digest.update(name.encode() + parameter.detach().numpy().tobytes())
    stop = model.generation_config.eos_token_id
    return {
        "losses": [entry["loss"] for entry in trainer.state.log_history if "loss" in entry],
        "rows": rows,
        "texts": [tokenizer.decode([x for x in labels if x != -100]) for _, labels in rows],
        "stops": [
            tokenizer.eos_token_id,
            *(stop if isinstance(stop, list) else [stop] if stop is not None else []),
        ],
        "moved": {name: bool(p.any()) for name, p in second.items()},
        "layers": getattr(model.config, "num_hidden_layers", 0),
        "digest": digest.hexdigest(),
        "invented": invented(asked["base"]),
        "shared": shared,
        "apart": apart(trainer) if "packed" in asked["more"] else 0.0,
    }


def invented(base: str) -> list[str]:
    """Weights that the base's file lacks, and that were drawn at random."""
    from transformers import AutoModelForCausalLM

    return sorted(AutoModelForCausalLM.from_pretrained(base, output_loading_info=True)[1]["missing_keys"])


def apart(trainer: Any) -> float:
    """The largest difference of a row's loss in a packed line to its loss alone."""
    import torch
    import torch.nn.functional as F

    batch = next(iter(trainer.get_train_dataloader()))
    model = trainer.model.eval()
    labels = batch.pop("labels")[0]
    ids, positions = batch["input_ids"][0], batch["position_ids"][0]
    starts = [*(positions == 0).nonzero().flatten().tolist(), len(ids)]
    far = 0.0
    with torch.no_grad():
        together = model(**batch).logits[0]
        for start, end in pairwise(starts):
            alone = model(input_ids=ids[None, start:end]).logits[0]
            wanted = labels[start + 1 : end]
            if (wanted != -100).any():
                one, other = (
                    F.cross_entropy(x[:-1], wanted, reduction="sum") for x in (together[start:end], alone)
                )
                far = max(far, abs(float(one - other)))
    return far


def chain(error: BaseException | None) -> list[str]:
    """An exception and what it came from, as a traceback tells them."""
    said = []
    while error is not None:
        said.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return said


def main() -> None:
    asked = json.loads(sys.argv[1])
    try:
        trainer, shared = train(asked)
        seen = look(asked, trainer, shared)
        if "one-batch" in asked["more"]:
            whole, _ = train(asked, per_device_train_batch_size=64, gradient_accumulation_steps=1)
            seen["one_batch"] = whole.state.log_history[0]["loss"]
        told: dict[str, Any] = {"seen": seen}
    except Exception as error:  # noqa: BLE001 whatever a user would see
        told = {"error": " <- ".join(chain(error)), "steps": Steps.made}
    Path(asked["result"]).write_text(json.dumps(told))


if __name__ == "__main__":
    main()
