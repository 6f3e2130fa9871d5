"""What tutorials teach, under the names they use: train, answer, switch twice, compose; on the starter."""

from __future__ import annotations

from pathlib import Path

import pytest

from lftreg import (
    AdapterManager,
    DatasetCreator,
    FineTuningConfig,
    LoRAFineTuner,
    Registry,
    compose_adapters,
    generate,
)
from lftreg.errors import InvalidData, NotFound, UsageError
from lftreg.remotes.folder import export_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
QUESTION = "How do I send a parcel back to you?"
MARKED = f"### Question: {QUESTION}\n### Answer:"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tutorial")


@pytest.fixture(autouse=True)
def _in_that_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LFTREG_HOME", str(home))


@pytest.fixture(scope="module")
def tuner(home: Path) -> LoRAFineTuner:
    """Two desks of a few steps each; the last one that was trained is the one that answers."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LFTREG_HOME", str(home))
        tuner = LoRAFineTuner(
            FineTuningConfig(model_name="starter", lora_r=8, learning_rate=3e-3, max_steps=40)
        )
        creator = DatasetCreator()
        tuner.train(creator.create_qa_dataset("financial_advisor"))
        history = tuner.train(creator.create_qa_dataset("customer_support"))
    losses = [entry["eval_loss"] for entry in history if "eval_loss" in entry]
    assert losses[-1] < 0.9 * losses[0]
    assert [entry["step"] for entry in history if "loss" in entry] == list(range(1, 41))
    return tuner


def isolated(ref: str, tokens: int = 24) -> str:
    """The answer of one adapter that shares nothing with any other."""
    return generate(ref, QUESTION, max_tokens=tokens)[0].text


def test_the_tuner_answers_with_what_it_trained(tuner: LoRAFineTuner) -> None:
    said = tuner.generate_text(MARKED, max_new_tokens=24, temperature=0)
    assert said == [isolated("customer_support")]
    asked = tuner.generate_text(f"### Instruction: {QUESTION}\n### Code:", max_new_tokens=24, temperature=0)
    assert asked == said
    assert len(set(tuner.generate_text(QUESTION, 24, temperature=1.0, num_return_sequences=3))) == 3
    assert tuner.load_adapter("financial_advisor").name == "financial_advisor"
    assert tuner.generate_text(MARKED, 24, temperature=0) == [isolated("financial_advisor")]
    tuner.load_adapter("customer_support@1")


def test_the_manager_switches_and_nothing_leaks(tuner: LoRAFineTuner, tmp_path: Path) -> None:
    """The manager of the tutorials answers with the adapter that was loaded last, whatever it is asked for."""
    registry = Registry()
    folder = export_folder(registry, registry.get("financial_advisor"), tmp_path / "finance")
    manager = AdapterManager("starter")
    manager.load_adapter("support", "customer_support@1")
    manager.load_adapter("finance", folder)
    alone = {
        name: isolated(ref)
        for name, ref in (("support", "customer_support"), ("finance", "financial_advisor"))
    }
    assert alone["support"] != alone["finance"]
    for name in ("support", "finance", "support", "finance"):
        manager.switch_adapter(name)
        assert manager.generate(MARKED, max_new_tokens=24) == alone[name]
    assert manager.generate(QUESTION, adapter_name="support", max_new_tokens=24) == alone["support"]
    assert manager.active == "finance"
    manager.switch_adapter(None)
    assert manager.generate(QUESTION, max_new_tokens=24) == isolated("base:starter")


def test_what_the_manager_does_not_know_is_told(tuner: LoRAFineTuner, tmp_path: Path) -> None:
    manager = AdapterManager("starter")
    manager.load_adapter("support", "customer_support")
    with pytest.raises(NotFound, match="Did you mean 'support'"):
        manager.switch_adapter("suport")
    with pytest.raises(NotFound, match="no folder"):
        manager.load_adapter("gone", tmp_path / "gone")
    folder = export_folder(Registry(), Registry().get("customer_support"), tmp_path / "spoilt")
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(InvalidData):
        manager.load_adapter("spoilt", folder)
    assert manager.generate(QUESTION, "support", max_new_tokens=24) == isolated("customer_support")


def test_composing_is_exact_and_no_weight_is_lost(tuner: LoRAFineTuner) -> None:
    desk = compose_adapters(["customer_support", "financial_advisor"], weights=[0.7, 0.3], name="desk")
    assert desk.recipe is not None
    assert [parent.weight for parent in desk.recipe.parents] == [0.7, 0.3]
    assert desk.recipe.relative_error is not None
    assert desk.recipe.relative_error < 1e-6
    assert desk.ref == "desk@1"
    with pytest.raises(UsageError, match="2 adapters and 1 weights"):
        compose_adapters(["customer_support", "financial_advisor"], weights=[0.7])


def test_other_data_of_the_tutorial(tmp_path: Path) -> None:
    creator = DatasetCreator()
    assert creator.create_code_generation_dataset().name == "code_generation"
    assert creator.create_creative_writing_dataset().name == "creative_writing"
    (tmp_path / "own.csv").write_text("question,answer\n" + "".join(f"Why {n}?,So {n}.\n" for n in range(20)))
    assert creator.create_custom_dataset(tmp_path / "own.csv").name == "own"
