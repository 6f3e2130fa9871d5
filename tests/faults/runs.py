"""What goes wrong while a run goes on, or in how it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.faults import kinds
from tests.faults.data import CHAT, of_rows
from tests.faults.kinds import QUICK, Case, Caught, Make, Setup, pairs
from tests.faults.templates import talking

PLUGIN = "lftreg_faults"


def plugin(body: str) -> Callable[[Path, Make], Setup]:
    """A package with a domain `legal`, whose `build(split, seed)` has this body."""

    def build(folder: Path, make: Make) -> Setup:
        site = folder / "site"
        info = site / "lftreg_faults-1.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lftreg-faults\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[lftreg]\nlegal = {PLUGIN}\n")
        (site / f"{PLUGIN}.py").write_text(
            "from lftreg import Domain, Example, Message, hookimpl\n\n"
            f"def build(split, seed):\n    {body}\n\n"
            "@hookimpl\ndef lftreg_domains():\n    yield Domain('legal', 'of a plugin', build)\n"
        )
        base = make("llama")
        return Setup(("legal", "--base", str(base), "--name", "it", *QUICK), base, site=site)

    return build


CASES = (
    Case(
        "accumulated", "the loss is wrong under gradient accumulation",
        of_rows(pairs(40), "--batch-size", "2", "--accumulate", "20"),
        holds=kinds.like_one_batch, more=frozenset({"one-batch"}),
        trl={"per_device_train_batch_size": 2, "gradient_accumulation_steps": 20},
    ),
    Case(
        "packed", "packed neighbours attend to each other",
        of_rows(pairs()), holds=kinds.kept_apart, more=frozenset({"packed"}),
        trl={"packing": True, "max_length": 256},
    ),
    Case(
        "packed falcon", "packed neighbours attend to each other",
        talking(kind="falcon"),
        Caught("rows-mix", r"falcon model cannot take packed rows: .* of its neighbours", when="step"),
        clear=r"attention implementation|packed rows", holds=kinds.kept_apart, more=frozenset({"packed"}),
        trl={**CHAT, "packing": True, "max_length": 256},
    ),
    Case(
        "checkpointed", "gradient checkpointing without input gradients leaves LoRA untrained",
        of_rows(pairs(), "--gradient-checkpointing"), holds=kinds.every_layer,
        trl={"gradient_checkpointing": True},
    ),
    Case(
        "same seed", "the seed is set after the adapter is made",
        of_rows(pairs()), holds=kinds.same_again, more=frozenset({"twice"}), trl={},
    ),
    Case(
        "learning rate far too high", "a run that has gone astray is kept",
        of_rows(pairs(), "--lr", "0.99", "--alpha", "4e4", "--max-steps", "20"),
        Caught("not-finite", r"step \d+: .*train", 1, when="step"),
    ),
    Case(
        "float16", "unscale FP16 gradients",
        of_rows(pairs(), "--dtype", "float16"),
        Caught("usage", r"'float16' is not one of"), clear=r"fp16|float16|half", holds=kinds.finite,
        trl={"fp16": True, "bf16": False, "model_init_kwargs": {"dtype": "float16"}},
    ),
    Case(
        "wrong word for a dtype", "a typing error in an option",
        of_rows(pairs(), "--dtype", "bfloat61"),
        Caught("usage", r"'bfloat61' is not one of"), clear="bfloat61", holds=kinds.finished,
        trl={"model_init_kwargs": {"dtype": "bfloat61"}},
    ),
    Case(
        "no rank", "an option that makes no sense",
        of_rows(pairs(), "--rank", "0"), Caught("usage", r"--rank 0 makes no sense"),
        clear=r"\br\b.*0|rank", holds=kinds.finished, trl={"r": 0},
    ),
    Case(
        "infinite alpha", "an option that makes no sense",
        of_rows(pairs(), "--alpha", "inf"), Caught("usage", r"--alpha inf makes no sense"),
    ),
    Case(
        "seed beyond 64 bits", "an option that makes no sense",
        of_rows(pairs(), "--seed", str(2**64)), Caught("usage", r"--seed \d+ makes no sense"),
    ),
    Case("domain without rows", "a plugin that yields nothing", plugin("return []"),
         Caught("invalid-data", r"domain 'legal' has no train rows")),
    Case("domain that raises", "a plugin's own bug", plugin("return [1 / 0]"),
         Caught("plugin-failed", r"domain 'legal' of plugin 'legal' .*ZeroDivisionError", 1)),
    Case("domain of dicts", "a plugin that yields something else",
         plugin("return [{'prompt': 'Where?', 'response': 'Here.'}] * 12"),
         Caught("plugin-failed", r"train row 1 is .*dict.*, not an Example", 1)),
    Case("domain of broken rows", "a conversation that ends with the user",
         plugin("return [Example((Message('user', f'{split} {n}?'),)) for n in range(12)]"),
         Caught("empty-answer", r"train row 1 has no answer to learn from")),
    Case("domain that shares prompts", "what is held out is trained on",
         plugin("return [Example.pair(f'Where is {n}?', 'Here.') for n in range(12)]"),
         Caught("shared-rows", r"12 prompts in both train and validation, such as 'Where is")),
)  # fmt: skip
