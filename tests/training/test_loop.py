from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from lftreg.errors import LftregError
from lftreg.models.base import find_base
from lftreg.models.load import Loaded, load_base, load_chat
from lftreg.objectives.causal import Causal
from lftreg.objectives.rows import IGNORED, Row
from lftreg.plugins.types import Example
from lftreg.training.events import Event, Stepped, Validated
from lftreg.training.loop import fit
from lftreg.training.settings import Settings
from lftreg.training.state import Fitted
from tests.training.evaluating import evaluate

SETTINGS = Settings(rank=4, lr=1e-2, batch_size=4, epochs=6)


@pytest.fixture(params=["tiny_llama", "tiny_gpt2"])
def loaded(request: pytest.FixtureRequest) -> Loaded:
    folder: Path = request.getfixturevalue(request.param)
    return load_base(find_base(str(folder)))


@pytest.fixture
def rows(loaded: Loaded) -> tuple[Row, ...]:
    examples = [
        Example.pair(f"What is {n}? {'Well' * (n % 3)}", f"It is {n}. " * (1 + n % 4)) for n in range(16)
    ]
    return Causal(loaded.chat).encode(examples, 128, "train").rows


def adapted(loaded: Loaded, seed: int = 0, rank: int = 4, **config: Any) -> Any:
    torch.manual_seed(seed)
    lora = LoraConfig(r=rank, target_modules="all-linear", task_type="CAUSAL_LM", **config)
    if loaded.model.config.model_type == "gpt2":
        lora.fan_in_fan_out = True
    return get_peft_model(loaded.model, lora)


def trained(loaded: Loaded, rows: tuple[Row, ...], settings: Settings, events: list[Event]) -> Fitted:
    model = adapted(loaded)
    resolved = settings.resolved(10**5, len(rows))
    return fit(model, Causal(loaded.chat), rows, rows[:4], resolved, events.append)


def test_the_loss_is_that_of_the_unmodified_model_row_by_row(loaded: Loaded, rows: tuple[Row, ...]) -> None:
    """The oracle is transformers' own loss, one row at a time, with no padding at all."""
    model = adapted(loaded)
    with torch.no_grad():
        ours = Causal(loaded.chat).loss_sum(model, rows[:8])
        theirs = sum(
            model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * row.learned
            for row in rows[:8]
        )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-4)


def test_a_model_that_caps_its_logits_keeps_its_cap(tiny_llama: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=64, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, head_dim=8, final_logit_softcapping=0.5,
    )  # fmt: skip
    model = get_peft_model(Gemma2ForCausalLM(config), LoraConfig(r=2, target_modules=["q_proj"]))
    row = Row((1, 2, 3, 4), (IGNORED, IGNORED, 3, 4))
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([row.ids]), labels=torch.tensor([row.labels])).loss * 2
        chat = load_chat(find_base(str(tiny_llama)))
        torch.testing.assert_close(Causal(chat).loss_sum(model, [row]), theirs)


def test_accumulated_steps_equal_one_large_batch(loaded: Loaded, rows: tuple[Row, ...]) -> None:
    """Rows of different lengths, so that a mean of means would differ."""
    one = trained(loaded, rows, replace(SETTINGS, batch_size=16, epochs=1), [])
    loaded.model.load_state_dict(loaded.model.state_dict())
    fresh = load_base(loaded.base)
    many = trained(fresh, rows, replace(SETTINGS, batch_size=2, accumulate=8, epochs=1), [])
    assert one.steps[0].loss == pytest.approx(many.steps[0].loss, rel=1e-6)


def test_training_lowers_the_loss_and_keeps_the_best_validation(
    loaded: Loaded, rows: tuple[Row, ...]
) -> None:
    events: list[Event] = []
    fitted = trained(loaded, rows, SETTINGS, events)
    losses = fitted.losses
    assert losses["validation_after"] < losses["validation_before"]
    assert losses["train_last"] < losses["train_first"]
    validated = [event for event in events if isinstance(event, Validated)]
    assert validated[0].step == 0
    assert losses["validation_after"] == min(event.loss for event in validated)
    assert fitted.best_step == min(validated, key=lambda event: event.loss).step


def test_the_kept_factors_are_those_of_the_best_step(loaded: Loaded, rows: tuple[Row, ...]) -> None:
    from peft import set_peft_model_state_dict

    fitted = trained(loaded, rows, replace(SETTINGS, lr=0.3, epochs=10, patience=9), [])
    model = adapted(load_base(loaded.base))
    set_peft_model_state_dict(model, fitted.factors)
    again = evaluate(model, Causal(loaded.chat), rows[:4], SETTINGS.batch_size)
    assert again == pytest.approx(fitted.losses["validation_after"], rel=1e-5)


def test_it_stops_when_validation_no_longer_improves(loaded: Loaded, rows: tuple[Row, ...]) -> None:
    fitted = trained(loaded, rows, replace(SETTINGS, lr=0.9, epochs=60, patience=1), [])
    assert fitted.stopped_early
    assert len(fitted.steps) < 60 * 4


def test_a_loss_that_is_not_a_number_stops_the_run_and_names_the_step(
    loaded: Loaded, rows: tuple[Row, ...]
) -> None:
    model = adapted(loaded)
    resolved = SETTINGS.resolved(10**5, len(rows))

    def poison(event: Event) -> None:
        if isinstance(event, Stepped) and event.step == 2:
            next(p for p in model.parameters() if p.requires_grad).data.fill_(float("nan"))

    with pytest.raises(LftregError, match=r"step 3: the loss became nan, in a batch of the train rows \d+"):
        fit(model, Causal(loaded.chat), rows, rows[:4], resolved, poison)


def test_the_base_is_not_touched(loaded: Loaded, rows: tuple[Row, ...]) -> None:
    before = {name: tensor.clone() for name, tensor in loaded.model.state_dict().items()}
    trained(loaded, rows, SETTINGS, [])
    after = load_base(loaded.base).model.state_dict()
    live = {name.replace(".base_layer", ""): t for name, t in loaded.model.state_dict().items()}
    for name, tensor in before.items():
        assert torch.equal(tensor, after[name])
        assert torch.equal(tensor, live[name])


def test_a_validation_that_is_no_number_ends_the_run(loaded: Loaded, rows: tuple[Row, ...]) -> None:
    """Compared with what is no number, nothing would ever be the best."""
    model = adapted(loaded)
    head = loaded.model.get_output_embeddings().weight
    before = head.data[rows[0].labels[-1]].clone()
    head.data[rows[0].labels[-1]] = float("nan")
    try:
        with pytest.raises(LftregError, match=r"step 0: .*validation") as caught:
            fit(
                model,
                Causal(loaded.chat),
                rows,
                rows[:4],
                SETTINGS.resolved(10**5, len(rows)),
                lambda e: None,
            )
        assert caught.value.code == "not-finite"
    finally:
        head.data[rows[0].labels[-1]] = before


def test_settings_of_accelerate_do_not_change_a_step(
    loaded: Loaded, rows: tuple[Row, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = trained(loaded, rows, replace(SETTINGS, epochs=1), [])
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    other = trained(load_base(loaded.base), rows, replace(SETTINGS, epochs=1), [])
    assert [step.loss for step in one.steps] == [step.loss for step in other.steps]
