"""What transformers and TRL write down of a run is judged by the same rules: real runs of an SFTTrainer."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from lftreg.advice.diagnose import diagnose, is_healthy
from lftreg.advice.reading import find_signals
from lftreg.errors import InvalidData, NotFound
from lftreg.registry import Registry
from tests.advice.lessons import Lesson, letters, parcels, sums
from tests.advice.test_doctor import STRIDE

slow = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),
]  # TRL takes six seconds to import
USUAL: Mapping[str, Any] = {
    "max_steps": 40, "learning_rate": 5e-3, "lr_scheduler_type": "cosine", "per_device_train_batch_size": 8,
    "logging_steps": 1, "eval_strategy": "steps", "eval_steps": 10, "max_length": 256, "report_to": "none",
    "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "save_strategy": "no", "disable_tqdm": True,
}  # fmt: skip


def poison(model: Any) -> None:
    """One weight of the base is no number."""
    model.base_model.model.model.layers[1].mlp.up_proj.base_layer.weight.data[3, 3] = float("nan")


def deaden(model: Any) -> None:
    """Both factors zero: the gradient of either is the other."""
    for name, parameter in model.named_parameters():
        if "lora_" in name:
            parameter.data.zero_()


@dataclass(frozen=True)
class Foreign:
    """A run of another trainer, and what is to be said of it first; "" for nothing."""

    name: str
    expect: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    lesson: Lesson = Lesson(parcels, seed=5)  # noqa: RUF009 it is frozen
    change: Callable[[Any], None] = lambda model: None
    starter: bool = False


RUNS = (
    Foreign("a poisoned base", "not-finite", change=poison),
    Foreign("both factors zero", "dead-adapter", change=deaden),
    Foreign("lr 0.5", "lr-too-high", {"learning_rate": 0.5}),
    Foreign("lr 1e-8", "lr-too-low", {"learning_rate": 1e-8}),
    Foreign("warm-up of 100 steps", "warm-up-too-long", {"warmup_steps": 100}),
    Foreign("3 steps", "too-few-steps", {"max_steps": 3}),
    Foreign(
        "stopped while it learns", "cut-short",
        {"learning_rate": 3e-4, "lr_scheduler_type": "constant", "max_steps": 24, "eval_steps": 12},
    ),
    Foreign(
        "8 rows", "overfit", {"learning_rate": 3e-3, "max_steps": 60}, Lesson(parcels, rows=8, seed=5), starter=True
    ),
    Foreign("healthy", ""),
    Foreign("healthy sums", "", {"learning_rate": 1e-2}, Lesson(sums, seed=6)),
    Foreign("healthy letters, 5 steps a line", "", {"logging_steps": 5, "max_steps": 60}, Lesson(letters, seed=8)),
    Foreign("healthy, never validated", "", {"eval_strategy": "no"}, Lesson(sums, seed=9)),
)  # fmt: skip


def train(run: Foreign, base: Path, folder: Path) -> Path:
    """The script that a user would write; returns its trainer_state.json."""
    import torch
    from datasets import Dataset
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    def rows(split: str) -> Any:
        return Dataset.from_list(
            [
                {
                    "prompt": [{"role": "user", "content": one.prompt}],
                    "completion": [{"role": "assistant", "content": one.response}],
                }
                for one in run.lesson.domain().build(split, 0)  # type: ignore[arg-type]
            ]
        )

    torch.manual_seed(5)
    config = LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="CAUSAL_LM")
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), config)
    run.change(model)
    trainer = SFTTrainer(
        model=model, args=SFTConfig(output_dir=str(folder / "out"), **{**USUAL, **run.arguments}),
        train_dataset=rows("train"), eval_dataset=rows("validation"),
        processing_class=AutoTokenizer.from_pretrained(base),
    )  # fmt: skip
    trainer.train()
    path = folder / "trainer_state.json"
    trainer.state.save_to_json(str(path))
    return path


class TestTrl:
    pytestmark = slow

    @pytest.mark.parametrize("run", RUNS[::STRIDE], ids=[run.name for run in RUNS[::STRIDE]])
    def test_a_run_of_trl_is_told_as_one_of_ours(
        self, run: Foreign, learned: Path, registry: Registry, tmp_path: Path
    ) -> None:
        from lftreg.paths import starter_folder

        pytest.importorskip("trl")
        signals = find_signals(
            str(train(run, starter_folder() if run.starter else learned, tmp_path)), registry
        )
        found = diagnose(signals)
        first = "" if is_healthy(found) else found[0].name
        assert first == run.expect, [(one.name, one.message) for one in found]
        assert signals.steps == signals.planned
        if run.expect == "not-finite":
            assert "although the logged loss is 0" in found[0].message
        if run.expect.startswith("lr-"):
            assert found[0].mend.startswith("SFTConfig(learning_rate=")


def state(path: Path, history: list[dict[str, Any]], **changes: Any) -> str:
    """A trainer_state.json of these lines."""
    found = {"max_steps": len(history), "global_step": len(history), "log_history": history} | changes
    path.write_text(json.dumps(found))
    return str(path)


def said(*words: str) -> tuple[int, str, str]:
    """`lftreg WORDS` in this process, as people see it: its exit code, stdout and stderr."""
    from lftreg.cli.main import _run

    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = _run(list(words))
    return code, out.getvalue(), err.getvalue()


def line(step: int, loss: float, norm: float | None = 1.0) -> dict[str, Any]:
    return {"step": step, "loss": loss, "learning_rate": 1e-4} | ({} if norm is None else {"grad_norm": norm})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("{", "it is not JSON"),
        ("[]", "it holds no object"),
        ("{}", "it holds no log_history"),
        ('{"log_history": 3, "max_steps": 1, "global_step": 1}', "it holds no log_history"),
        ('{"log_history": [3]}', "it holds no log_history"),
        ('{"log_history": []}', "the file has no max_steps"),
        ('{"log_history": [], "max_steps": 4}', "the file has no global_step"),
        ('{"log_history": [], "max_steps": "many"}', "the file has 'many' as max_steps, which is no number"),
        ('{"log_history": [{"loss": 1}]}', "a line of log_history has no step"),
        (
            '{"log_history": [{"loss": "low", "step": 2}]}',
            "the line of step 2 has 'low' as loss, which is no number",
        ),
        ('{"log_history": [{"eval_loss": null, "step": 2}]}', "the line of step 2 has no eval_loss"),
        ('{"log_history": [{"loss": 1, "step": NaN}]}', "a line of log_history has nan as step"),
        ("[" * 100_000, "it is not JSON"),
    ],
)
def test_what_is_no_trainer_state_is_told(registry: Registry, tmp_path: Path, content: str, why: str) -> None:
    path = tmp_path / "state.json"
    path.write_text(content)
    with pytest.raises(InvalidData, match=r"no trainer_state\.json") as caught:
        find_signals(str(path), registry)
    assert (
        caught.value.message
        == f"{path} is no trainer_state.json: {caught.value.message.partition('json: ')[2]}"
    )
    assert why in caught.value.message
    assert "Error" not in caught.value.message


def test_where_no_trainer_state_is_that_is_told(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "outputs" / "checkpoint-5").mkdir(parents=True)
    for what in ("./outputs", "outputs", str(tmp_path / "outputs")):
        with pytest.raises(NotFound, match=r"holds no trainer_state\.json, nor does a checkpoint-") as caught:
            find_signals(what, registry)
        assert "trainer.save_state()" in (caught.value.hint or "")
    for what in ("./nowhere", str(tmp_path / "trainer_state.json")):
        with pytest.raises(NotFound, match="no file"):
            find_signals(what, registry)
    with pytest.raises(NotFound, match="unknown adapter"):
        find_signals("nowhere", registry)
    (tmp_path / "outputs" / "train.log").write_text("loss 2.0")
    for what in ("./outputs/train.log", "outputs/train.log"):
        with pytest.raises(InvalidData, match=r"outputs/train\.log is no trainer_state\.json$"):
            find_signals(what, registry)
    state(tmp_path / "outputs" / "checkpoint-5" / "trainer_state.json", [line(n, 2.0) for n in range(1, 6)])
    assert find_signals("./outputs", registry).steps == 5


def test_a_zero_that_stands_for_no_number_is_not_believed(registry: Registry, tmp_path: Path) -> None:
    learning = [line(n, 3.0 - 0.1 * n) for n in range(1, 11)]
    for norm in (math.nan, math.inf, None):  # None: as older transformers, which log no norm
        lines = [*learning, *(line(n, 0.0, norm) for n in range(11, 31))]
        lines = (
            lines
            if norm is not None
            else [{k: v for k, v in one.items() if k != "grad_norm"} for one in lines]
        )
        signals = find_signals(state(tmp_path / "state.json", lines), registry)
        assert [point.hidden for point in signals.points] == [False] * 10 + [True] * 20
        assert math.isnan(signals.last)
        document = signals.document()
        assert (document["train_first"], document["train_last"]) == (2.9, "nan")
        found = diagnose(signals)
        assert [one.name for one in found] == ["not-finite"]
        assert "at step 11 although the logged loss is 0" in found[0].message
        assert found[0].mend == "SFTConfig(learning_rate=1e-05)"


def test_a_loss_that_becomes_nothing_by_learning_is_believed(registry: Registry, tmp_path: Path) -> None:
    """Rounded to four places, the loss of rows that are known by heart is 0."""
    losses = [2.0, 1.0, 0.3, 0.05, 0.004, 0.0003, *([0.0] * 20)]
    for norm in (0.001, None):
        lines = [line(n, loss, norm) for n, loss in enumerate(losses, 1)]
        signals = find_signals(state(tmp_path / "state.json", lines), registry)
        assert not any(point.hidden for point in signals.points)
        assert "not-finite" not in [one.name for one in diagnose(signals)]


def test_what_was_no_number_from_the_first_step_is_not_the_rate(registry: Registry, tmp_path: Path) -> None:
    lines = [line(n, 0.0, math.nan) for n in range(1, 31)]
    (first,) = diagnose(find_signals(state(tmp_path / "state.json", lines), registry))
    assert first.name == "not-finite"
    assert "the base's weights or the labels, not the rate" in first.message
    assert "learning_rate" not in first.mend


def test_the_summary_tells_of_no_number_and_the_verdict_once(tmp_path: Path, home: Path) -> None:
    lines = [
        *(line(n, 3.0 - 0.1 * n) for n in range(1, 11)),
        *(line(n, 0.0, math.nan) for n in range(11, 31)),
    ]
    lines += [{"step": 30, "eval_loss": math.nan}]
    path = state(tmp_path / "trainer_state.json", lines, max_steps=30, global_step=30)
    code, out, err = said("doctor", path)
    assert code == 6
    assert "loss           2.900 -> no number (logged as 0)" in out
    assert "validation     no number" in out
    assert "gradient norm  1 to 1, no number in 20 of 30 lines" in out
    assert "0.000" not in out and "nan" not in out.partition("not-finite")[0]
    assert out.count("not-finite") == 1 and "not-finite" not in err
    assert "SFTConfig" in out and "SFTConfig" not in err
    assert err == f"error: {path} is not healthy\n"


def test_a_loss_of_exactly_nothing_is_told(registry: Registry, tmp_path: Path) -> None:
    """As older trainers log rows whose labels are all masked."""
    for norm in (0.0, None):
        path = state(tmp_path / "trainer_state.json", [line(n, 0.0, norm) for n in range(1, 31)])
        (first, *_) = diagnose(find_signals(path, registry))
        assert first.name == "nothing-learned"
        assert first.mend == "SFTConfig(max_length=2048)"
