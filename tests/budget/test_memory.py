"""What is foretold on the meta device is what real tensors take, and what can be reckoned by hand."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import transformers
from torch.nn.functional import cross_entropy

from lftreg.budget.devices import GIB, Device
from lftreg.budget.memory import WORKSPACE, Memory, Recipe, estimate, fits, usable
from lftreg.budget.tracking import BLOCK, Tracker, rounded
from lftreg.errors import InvalidData, Unavailable
from lftreg.models.fresh import add_adapter
from lftreg.models.tasks import CAUSAL, CLASSIFY
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import IGNORED, Row

pytestmark = pytest.mark.slow

WIDTH, INNER, LAYERS, WORDS, HEADS, GROUPS = 128, 384, 4, 1000, 4, 2
LLAMA: dict[str, Any] = {
    "model_type": "llama", "vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": INNER,
    "num_hidden_layers": LAYERS, "num_attention_heads": HEADS, "num_key_value_heads": GROUPS,
    "max_position_embeddings": 512, "tie_word_embeddings": True,
}  # fmt: skip
GPT2: dict[str, Any] = {
    "model_type": "gpt2", "vocab_size": WORDS, "n_embd": WIDTH, "n_layer": LAYERS, "n_head": HEADS, "n_positions": 512,
    "bos_token_id": 0, "eos_token_id": 0,
}  # fmt: skip
BERT: dict[str, Any] = {
    "model_type": "bert", "vocab_size": WORDS, "hidden_size": WIDTH, "intermediate_size": INNER,
    "num_hidden_layers": 2, "num_attention_heads": HEADS,
}  # fmt: skip
ALL = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
KV = WIDTH * GROUPS // HEADS
LINEAR = (  # inputs and outputs of what ALL names in a block
    (WIDTH, WIDTH), (WIDTH, KV), (WIDTH, KV), (WIDTH, WIDTH), (WIDTH, INNER), (WIDTH, INNER), (INNER, WIDTH)
)  # fmt: skip
RANK = 8
PLAIN = Recipe(LLAMA, ALL, RANK)


def steps(batch: int, length: int, packed: bool = False) -> tuple[Causal, list[Row]]:
    """An objective and `batch` lines of `length` tokens; packed ones hold two rows each."""
    chat: Any = SimpleNamespace(pad_id=0)
    count, size = (2 * batch, length // 2) if packed else (batch, length)
    row = Row((5,) * size, (IGNORED,) + (5,) * (size - 1))
    return Causal(chat, room=length if packed else None), [row] * count


def foretold(recipe: Recipe, batch: int, length: int, packed: bool = False, **options: Any) -> Memory:
    objective, rows = steps(batch, length, packed)
    return estimate(recipe, lambda model: objective.loss_sum(model, rows), **options)


def really(recipe: Recipe, batch: int, length: int, packed: bool = False) -> int:
    """The peak of the same step on real tensors, by the same count of living storages."""
    settings = {k: v for k, v in recipe.config.items() if k != "model_type"}
    half = recipe.dtype == "bfloat16"
    config = transformers.AutoConfig.for_model(
        recipe.config["model_type"], **settings, dtype=getattr(torch, recipe.dtype)
    )
    base = transformers.AutoModelForCausalLM.from_config(config).requires_grad_(False)
    model = add_adapter(
        base, CAUSAL, recipe.targets, rank=recipe.rank, alpha=16, dropout=recipe.dropout,
        gradient_checkpointing=recipe.gradient_checkpointing,
    )  # fmt: skip
    objective, rows = steps(batch, length, packed)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, foreach=True)
    tracker = Tracker("cpu")
    model.train()
    with tracker:
        for tensor in [*model.parameters(), *model.buffers()]:
            tracker.hold(tensor)
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        tracker.restart()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = objective.loss_sum(model, rows)
        loss.backward()
        optimizer.step()
    return tracker.peak - BLOCK * len(parameters)  # AdamW's count of steps, which a GPU is spared


def test_static_sizes_are_those_reckoned_by_hand() -> None:
    memory = foretold(PLAIN, 1, 16, gpu=False)
    block = sum(rounded(4 * i * o) for i, o in LINEAR) + 2 * rounded(4 * WIDTH)
    frequencies = rounded(4 * WIDTH // HEADS // 2)
    norm, table = rounded(4 * WIDTH), rounded(4 * WORDS * WIDTH)
    factors = LAYERS * sum(rounded(4 * RANK * i) + rounded(4 * RANK * o) for i, o in LINEAR)
    # A rotation keeps its frequencies twice; the table of words makes the logits too.
    assert memory.base in {LAYERS * block + norm + table + n * frequencies for n in (1, 2)}
    assert memory.adapter == memory.gradients == factors
    assert memory.optimizer == 2 * factors
    assert memory.workspace == 0
    assert memory.static == memory.base + 4 * factors
    assert memory.peak == memory.static + memory.activations


def test_factors_stay_in_float32_over_a_base_in_bfloat16() -> None:
    whole, half = (foretold(replace(PLAIN, dtype=dtype), 2, 64) for dtype in ("float32", "bfloat16"))
    assert half.adapter == whole.adapter
    assert half.base == pytest.approx(whole.base / 2, rel=0.01)
    assert half.activations < whole.activations
    assert half.workspace == whole.workspace == WORKSPACE


@pytest.mark.parametrize(
    ("batch", "length", "packed", "changes"),
    [
        (2, 64, False, {}),
        (4, 256, False, {}),
        (4, 128, False, {"gradient_checkpointing": True}),
        (4, 128, False, {"dropout": 0.1}),
        (2, 256, True, {}),
        (4, 128, False, {"rank": 64, "targets": ("q_proj", "v_proj")}),
        (4, 128, False, {"config": GPT2, "targets": ("c_attn", "c_proj", "c_fc")}),
        (
            2, 128, True,
            {"config": GPT2, "targets": ("c_attn",), "gradient_checkpointing": True},
        ),
    ],
)  # fmt: skip
def test_the_peak_is_that_of_real_tensors(
    batch: int, length: int, packed: bool, changes: dict[str, Any]
) -> None:
    recipe = replace(PLAIN, **changes)
    told = foretold(recipe, batch, length, packed, gpu=False)
    assert told.peak == pytest.approx(really(recipe, batch, length, packed), rel=0.005)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_peak_under_autocast_is_that_of_real_tensors(checkpointing: bool) -> None:
    recipe = replace(PLAIN, dtype="bfloat16", gradient_checkpointing=checkpointing)
    told = foretold(recipe, 4, 256, gpu=False, autocast=True)
    assert told.peak == pytest.approx(really(recipe, 4, 256), rel=0.03)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("gpu", [True, False])
def test_more_of_anything_takes_more(dtype: str, gpu: bool) -> None:
    recipe = replace(PLAIN, dtype=dtype)
    peak = foretold(recipe, 2, 128, gpu=gpu).peak
    assert foretold(recipe, 4, 128, gpu=gpu).peak > peak
    assert foretold(recipe, 2, 256, gpu=gpu).peak > peak
    assert foretold(replace(recipe, rank=2 * RANK), 2, 128, gpu=gpu).peak > peak
    assert foretold(replace(recipe, targets=ALL[:4]), 2, 128, gpu=gpu).peak < peak
    assert foretold(replace(recipe, gradient_checkpointing=True), 2, 128, gpu=gpu).peak < peak


def test_scores_are_not_held_on_a_gpu_but_where_no_kernel_takes_them() -> None:
    scores = LAYERS * HEADS * 512 * 512 * 4  # of a row of 512 tokens, in float32
    lean = {"vocab_size": 8, "intermediate_size": 8}
    half = replace(PLAIN, config=LLAMA | lean, targets=ALL[:4], dtype="bfloat16")
    assert foretold(half, 1, 512).activations < scores / 2
    # In float32 only the efficient kernel is left, and it wants as many heads of keys as of queries.
    assert foretold(replace(half, dtype="float32"), 1, 512).activations > scores
    even = LLAMA | lean | {"num_key_value_heads": HEADS}
    assert foretold(replace(half, dtype="float32", config=even), 1, 512).activations < scores


def test_autocast_is_felt() -> None:
    recipe = replace(PLAIN, dtype="bfloat16")
    with_, without = (foretold(recipe, 4, 128, autocast=on) for on in (True, False))
    assert with_.activations < without.activations  # factors in float32 would hold their inputs so
    assert torch.is_autocast_enabled("cuda") is False


def test_a_packed_line_holds_a_mask() -> None:
    recipe = replace(PLAIN, dtype="bfloat16")
    alone, packed = (foretold(recipe, 1, 512, packed).activations for packed in (False, True))
    assert packed > alone + LAYERS * 512 * 512 * 2


@pytest.mark.parametrize(
    ("kind", "bytes_a_weight", "rest"), [("nf4", 0.5, 1 / 64 + 4 / (64 * 256)), ("int8", 1, 4 / WIDTH)]
)
def test_few_bits_are_counted_with_their_constants(kind: str, bytes_a_weight: float, rest: float) -> None:
    recipe = replace(PLAIN, dtype="bfloat16")
    whole, packed = foretold(recipe, 2, 64), foretold(replace(recipe, quantize=kind), 2, 64)
    weights = LAYERS * sum(i * o for i, o in LINEAR)
    saved = weights * (2 - bytes_a_weight - rest)
    # Beside these a layer holds two codes, and three blocks that are rounded up.
    assert whole.base - packed.base == pytest.approx(saved, abs=LAYERS * len(LINEAR) * 3 * BLOCK)
    assert packed.adapter == whole.adapter


def test_a_validation_can_be_what_takes_most() -> None:
    recipe = replace(PLAIN, config=LLAMA | {"vocab_size": 50000}, gradient_checkpointing=True)
    objective, rows = steps(1, 64)
    alone = foretold(recipe, 1, 64, gpu=False)
    beside = foretold(recipe, 1, 64, gpu=False, validation=lambda model: objective.loss_sum(model, rows * 8))
    assert beside.peak > alone.peak
    assert (
        foretold(recipe, 1, 64, gpu=False, validation=lambda model: objective.loss_sum(model, rows)) == alone
    )


def test_a_classifier_learns_its_head_too() -> None:
    def loss(model: Any) -> torch.Tensor:
        ids = torch.tensor([[5] * 32] * 2, device=model.device)
        mask = torch.tensor([[1] * 32, [1] * 16 + [0] * 16], device=model.device)
        labels = torch.tensor([0, 1], device=model.device)
        return cross_entropy(model(input_ids=ids, attention_mask=mask).logits.float(), labels)

    few, many = (
        estimate(Recipe(BERT, ("query", "value"), RANK, task=CLASSIFY, labels=labels), loss, gpu=False)
        for labels in (3, 1003)
    )
    assert many.gradients - few.gradients == pytest.approx(1000 * 4 * (WIDTH + 1), abs=2 * BLOCK)


def test_branches_are_taken_by_what_masks_hold() -> None:
    seen = []

    def loss(model: Any) -> torch.Tensor:
        positions = torch.tensor([[0, 1, 2, 0]], device=model.device)
        seen.append(bool((positions.diff() < 0).any()))
        seen.append(int(positions.max()))
        return model(input_ids=positions).logits.sum()

    estimate(PLAIN, loss, gpu=False)
    assert seen == [True, 2]


def test_a_step_that_cannot_run_without_numbers_is_said_so() -> None:
    def loss(model: Any) -> torch.Tensor:
        logits = model(input_ids=torch.tensor([[1, 2]], device=model.device)).logits
        return logits.sum() * float(logits.max())

    with pytest.raises(Unavailable, match="llama") as caught:
        estimate(PLAIN, loss)
    assert caught.value.code == "no-estimate"
    with pytest.raises(InvalidData):
        foretold(replace(PLAIN, config={"model_type": "no-such-model"}), 1, 16)


def test_what_fits() -> None:
    device = Device("small", 8 * GIB, 1e12, 1e12, 0.5)
    room = usable(8 * GIB)
    assert room < 8 * GIB
    assert fits(Memory(room, 0, 0, 0, 0, 0), device)
    assert fits(Memory(room, 0, 0, 0, 1, 0), device) is False
    assert fits(Memory(1, 0, 0, 0, 0, 0), replace(device, memory=None)) is None
