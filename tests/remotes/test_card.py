from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from lftreg.registry import Base, Draft, Parent, Recipe, Registry, Run
from lftreg.remotes.card import write_card
from lftreg.remotes.folder import export_folder, import_folder
from tests.evaluation.test_leaderboard import record, values
from tests.registry.conftest import BASE, draft  # noqa: F401 a fixture

Make = Callable[..., Draft]
RUN = Run(
    3, "d" * 64, {"rank": 4}, {"torch": "2"},
    {"train_first": 4.0, "train_last": 0.5, "validation_before": 3.9, "validation_after": 0.31},
    {"train": 600, "validation": 100}, 36_000, 58.5,
)  # fmt: skip
SAMPLES = [{"prompt": "How *long*?\nReally", "before": "", "after": "Thirty | days"}]


@pytest.fixture
def card(registry: Registry, draft: Make) -> str:  # noqa: F811
    made = registry.publish(
        draft(domain="customer_support", run=RUN, attachments={"samples.json": json.dumps(SAMPLES).encode()})
    )
    record(registry, "a", values(0.6), digest=made.digest)
    return write_card(made, registry)


def test_the_hub_reads_its_metadata_and_results(card: str) -> None:
    data = ModelCard(card).data
    assert (data.library_name, data.tags) == ("peft", ["lora", "lftreg", "customer_support"])
    (result,) = data.eval_results
    assert (result.metric_type, result.dataset_type) == ("rouge_l", "desk")
    assert result.metric_value == pytest.approx(0.6, abs=0.05)


def test_it_tells_of_losses_figures_and_answers(card: str) -> None:
    assert "| training loss | 4.0000 | 0.5000 |" in card
    assert "| validation loss | 3.9000 | 0.3100 |" in card
    assert "Evaluation on desk" in card and "+10.0% | +0.0% to +20.0% |" in card
    assert "> How \\*long\\*? Really" in card
    assert "- before: (nothing)" in card and "Thirty \\| days" in card


def test_the_largest_suites_stand_first_and_trials_are_left_out(
    registry: Registry,
    draft: Make,  # noqa: F811
) -> None:
    made = registry.publish(draft())
    again = {"digest": made.digest}
    brief = {"decoding": {"max_tokens": 16, "temperature": 0.0}, "decoding_digest": "e" * 64}
    facts = {"answers_trained_on": 7, "unknown_data": ["one@1: no file /home/somebody/inbox.jsonl"]}
    record(registry, "a", values(0.6), **again, facts=facts)
    record(registry, "a", values(0.6, n=120), **again, suite="inbox", suite_digest="6" * 64)
    record(registry, "a", values(0.6), **again, **brief)
    for n in (7, 8):
        record(registry, "a", values(0.9, n=n), **again, suite="trial", suite_digest=str(n) * 64)
    told = write_card(made, registry)
    titles = [line for line in told.splitlines() if line.startswith("## Evaluation")]
    assert titles == [
        "## Evaluation on inbox",
        "## Evaluation on desk (100 items, greedy, up to 16 tokens)",
        "## Evaluation on desk (100 items, greedy, up to 64 tokens)",
    ]
    assert "2 smaller trials of under 50 items are left out here." in told
    assert "trial (" not in told
    assert "- answers that stand in the training data: 7 of 100" in told
    assert "- training data not known: one@1\n" in told and "somebody" not in told
    assert len(ModelCard(told).data.eval_results) == 3


def test_a_trial_that_stands_alone_is_shown_with_its_warning(registry: Registry, draft: Make) -> None:  # noqa: F811
    made = registry.publish(draft())
    record(registry, "a", values(0.9, n=5), digest=made.digest)
    assert "- 5 items are too few to name a winner: 50 or more are needed" in write_card(made, registry)


def test_a_composition_names_its_parents(registry: Registry, draft: Make) -> None:  # noqa: F811
    parents = (Parent("one@1", "a" * 64, 0.7), Parent("two@1", "b" * 64, 0.3))
    made = registry.publish(draft(kind="composed", recipe=Recipe("cat", {}, parents, 2e-8)))
    told = write_card(made, registry)
    assert "Method `cat`. Relative error to the exact sum: 2.0e-08." in told
    assert "| `one@1` | 0.7 | `aaaaaaaaaaaa` |" in told
    assert "## Evaluation" not in told and "## Training" not in told


def test_a_folder_with_its_card_comes_back_as_the_same_content(
    registry: Registry,
    draft: Make,  # noqa: F811
    tmp_path: Path,
) -> None:
    made = registry.publish(draft(run=RUN))
    folder = export_folder(registry, made, tmp_path / "out")
    assert (folder / "README.md").read_text(encoding="utf-8") == write_card(made, registry)
    assert import_folder(registry, folder, name="again", base=BASE).digest == made.digest


@pytest.mark.parametrize(
    ("kind", "task", "loader"),
    [
        ("llama", "CAUSAL_LM", "AutoModelForCausalLM"),
        ("llama", None, "AutoModelForCausalLM"),
        ("t5", "SEQ_2_SEQ_LM", "AutoModelForSeq2SeqLM"),
        ("bert", None, "AutoModelForMaskedLM"),
        ("bert", "SEQ_CLS", "AutoModelForSequenceClassification"),
    ],
)
def test_it_loads_the_base_as_what_it_is(
    registry: Registry,
    draft: Make,  # noqa: F811
    kind: str,
    task: str | None,
    loader: str,
) -> None:
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"], "task_type": task}
    told = write_card(
        registry.publish(draft(base=Base("e" * 64, "org/one", kind, 9), config=config)), registry
    )
    assert f'base = {loader}.from_pretrained("org/one")' in told
    assert ("vllm serve org/one" in told) == (kind == "llama")
    assert ("vLLM cannot serve it: " in told) == (kind != "llama")


def test_vllm_is_told_the_largest_rank_of_a_pattern(registry: Registry, draft: Make) -> None:  # noqa: F811
    config = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj"]}
    made = registry.publish(draft(config=config | {"rank_pattern": {"q_proj": 12}}))
    assert "--max-lora-rank 16 " in write_card(made, registry, "org/it")


def test_what_it_says_of_the_starter_runs(registry: Registry, draft: Make) -> None:  # noqa: F811
    told = write_card(registry.publish(draft(base=Base("f" * 64, "starter", "llama", 9))), registry)
    assert "FOLDER" not in told
    snippet = told.partition("```python")[2].partition("model = ")[0]
    exec(snippet, scope := {})  # type: ignore[var-annotated]
    assert type(scope["base"]).__name__ == "LlamaForCausalLM"
