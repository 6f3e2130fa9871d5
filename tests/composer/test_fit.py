"""Weights found on data that a known mixture wrote, and the verdict where mixing does not help."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lftreg import Registry, compose
from lftreg.composer.fitting.fit import Fitted, fit_weights
from lftreg.composer.fitting.judge import ENOUGH, Compared, compare, judge
from lftreg.composer.fitting.mixture import Mixture, mixture_of
from lftreg.composer.fitting.search import Trial
from lftreg.composer.plan import make_plan
from lftreg.errors import Incompatible, InvalidData, LftregError, NotFound, UsageError
from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.load import load_base
from lftreg.objectives import make_objective
from lftreg.plugins.host import Host
from lftreg.plugins.types import Example, Message
from lftreg.registry import WEIGHTS
from tests.conftest import Tiny

from .random_parents import publish_random

pytestmark = pytest.mark.slow

Write = Callable[..., Path]


@pytest.fixture
def write(tiny_llama: Path, registry: Registry, tmp_path: Path) -> Write:
    """Rows that a mixture of the adapters a and b wrote, sampled from it; a and b are published."""
    found = find_base(str(tiny_llama), registry)
    for seed, name in ((1, "a"), (2, "b")):
        publish_random(registry, found, tmp_path, name, seed)

    def make(*weights: float, rows: int = 600, split: Sequence[str] = ()) -> Path:
        loaded = load_base(found)
        stack = stacked(loaded.model, registry, "a", "b")
        asked = ["Tell me of " + " ".join(f"{n:03d}") for n in range(rows)]
        ids = torch.tensor([loaded.chat.prompt_ids([Message("user", one)]) for one in asked])
        torch.manual_seed(0)
        with torch.inference_mode(), stack.attached():
            stack.weights = torch.tensor(weights).expand(len(stack.blocks), len(weights))
            made = loaded.model.generate(
                input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=True, top_k=0, max_new_tokens=4,
                pad_token_id=loaded.chat.pad_id,
            )  # fmt: skip
        found_rows = []
        for prompt, answer in zip(asked, made[:, ids.shape[1] :].tolist(), strict=True):
            text = loaded.tokenizer.decode(answer)
            # A text that is read as other tokens than it was written in would teach something else.
            if (
                text == text.strip()
                and loaded.tokenizer(text, add_special_tokens=False)["input_ids"] == answer
            ):
                found_rows.append({"prompt": prompt, "response": text})
        path = tmp_path / "rows.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in found_rows))
        return path

    return make


def stacked(model: Any, registry: Registry, *refs: str) -> Mixture:
    plan = make_plan(refs, name="x", method="cat", options={}, dtype="auto", registry=registry, host=Host())
    return mixture_of(model, plan.parents, plan.layers)


def of(fitted: Fitted, kind: str) -> list[Compared]:
    return [one for one in fitted.compared if one.kind == kind]


def test_a_known_mixture_is_found_and_wins(write: Write, registry: Registry) -> None:
    file = write(0.8, -0.3)
    said: list[tuple[str, int]] = []
    fitted = fit_weights(
        ["a", "b"], [file], registry=registry, listen=lambda doing, done=0: said.append((doing, done))
    )
    assert fitted.weights == pytest.approx((0.8, -0.3), abs=0.2)
    assert fitted.weights == tuple(round(weight, 4) for weight in fitted.weights or ())
    assert fitted.layers is None
    assert fitted.beats_best_single
    assert fitted.verdict.startswith("the fit beat the best single adapter, a@1: ")
    (single,) = [one for one in of(fitted, "single") if one.ci95 is None]
    ((fit,), (control,), (base,)) = (of(fitted, kind) for kind in ("fit", "control", "base"))
    assert fit.ci95 is not None and fit.ci95[0] < fit.loss - single.loss < fit.ci95[1] < 0
    assert fit.loss < single.loss < min(base.loss, control.loss)
    assert [one.name for one in fitted.compared] == [
        "the bare base", "a@1", "b@1", "equal weights", "the fit", "random adapters",
    ]  # fmt: skip
    assert fitted.start == "a@1" and 0 < fitted.best_step <= fitted.steps
    assert fitted.validation < fitted.validation_start
    assert fitted.forwards < 70
    assert sum(fitted.rows.values()) == len(file.read_text().splitlines())
    assert fitted.prompts == fitted.rows["test"] >= ENOUGH
    assert said[0] == ("loading the base", 0)
    assert any(doing.endswith(" nats") and done == 40 for doing, done in said)
    assert {v.name for v in registry.list()} == {"a", "b"}
    json.dumps(asdict(fitted))


def test_the_held_out_loss_is_that_of_the_composition_itself(write: Write, registry: Registry) -> None:
    """The oracle is a composition by cat, attached by PEFT, on the rows that read_data calls test."""
    from lftreg.data.files import read_data

    file = write(0.8, -0.3, rows=300)
    fitted = fit_weights(["a", "b"], [file], registry=registry, steps=5)
    made = compose(["a", "b"], weights=fitted.weights, name="mix", registry=registry)
    loaded = load_base(find_base(made.base.id))
    objective = make_objective(loaded.task, loaded.tokenizer)
    rows = objective.encode(read_data([file]).examples["test"], 256, "test").rows
    peft = AdapterModel(loaded)
    peft.attach("mix", registry.config(made), registry.file(made, WEIGHTS))
    with peft.using("mix") as model, torch.no_grad():
        theirs = float(objective.loss_sum(model, rows)) / sum(row.learned for row in rows)
    assert of(fitted, "fit")[0].loss == pytest.approx(theirs, rel=1e-5)


def test_held_out_rows_move_the_verdict_and_no_weight(write: Write, registry: Registry) -> None:
    from lftreg.data.files import read_data

    file = write(0.8, -0.3, rows=300)
    before = fit_weights(["a", "b"], [file], registry=registry, steps=5)
    held_out = {example.prompt for example in read_data([file]).examples["test"]}
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    for row in rows:
        if row["prompt"] in held_out:
            row["response"] = "Something else entirely."
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    after = fit_weights(["a", "b"], [file], registry=registry, steps=5)
    assert (after.weights, after.validation) == (before.weights, before.validation)
    assert of(after, "fit")[0].loss != pytest.approx(of(before, "fit")[0].loss, rel=1e-2)


def test_one_seed_gives_the_same_weights_and_another_does_not(write: Write, registry: Registry) -> None:
    file = write(0.8, -0.3, rows=300)
    one, same, other = (
        fit_weights(["a", "b"], [file], registry=registry, steps=10, seed=seed) for seed in (3, 3, 4)
    )
    assert one.best_step > 0
    assert (one.weights, one.compared) == (same.weights, same.compared)
    assert one.weights != other.weights


def test_a_base_in_bfloat16(write: Write, registry: Registry) -> None:
    fitted = fit_weights(["a", "b"], [write(0.8, -0.3)], registry=registry, dtype="bfloat16")
    assert fitted.weights == pytest.approx((0.8, -0.3), abs=0.25)
    assert fitted.beats_best_single


def test_weights_per_layer(write: Write, registry: Registry) -> None:
    fitted = fit_weights(["a", "b"], [write(0.8, -0.3)], per="layer", registry=registry)
    assert fitted.weights is None and fitted.layers is not None
    a, b = fitted.layers
    assert list(a) == list(b) == ["model.layers.0", "model.layers.1"]
    assert all(0.4 < weight < 1.2 for weight in a.values())
    assert all(-0.7 < weight < 0.1 for weight in b.values())
    assert len(set(a.values())) == 2
    assert fitted.beats_best_single


def test_where_one_adapter_is_enough_the_verdict_says_so(write: Write, registry: Registry) -> None:
    fitted = fit_weights(["b", "a"], [write(1.0, 0.0)], registry=registry)
    assert not fitted.beats_best_single
    assert fitted.verdict.startswith("the fit did not beat the best single adapter, a@1: ")
    assert fitted.weights == pytest.approx((0.0, 1.0), abs=0.2)
    assert fitted.start == "a@1"


def test_one_adapter_finds_its_scale(write: Write, registry: Registry) -> None:
    fitted = fit_weights("a", [write(-0.8, 0.0)], registry=registry)
    assert fitted.weights == pytest.approx((-0.8,), abs=0.25)
    assert fitted.beats_best_single
    assert [one.kind for one in fitted.compared] == ["base", "single", "fit", "control"]


def test_a_few_rows_prove_nothing(write: Write, registry: Registry) -> None:
    fitted = fit_weights(["a", "b"], [write(0.8, -0.3, rows=120)], registry=registry, steps=5)
    assert fitted.prompts < ENOUGH
    assert not fitted.beats_best_single
    assert "too little to tell" in fitted.verdict


@pytest.mark.parametrize("kind", ["gpt2", "t5", "bert"])
def test_other_families(kind: str, tiny: Tiny, registry: Registry, tmp_path: Path) -> None:
    found = find_base(str(tiny(kind)), registry)
    for seed, name in ((1, "a"), (2, "b")):
        publish_random(registry, found, tmp_path, name, seed, fan_in_fan_out=kind == "gpt2")
    file = tmp_path / "rows.jsonl"
    rows = [{"prompt": f"What is {n}?", "response": f"It is {n}."} for n in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    fitted = fit_weights(["a", "b"], [file], registry=registry, steps=10)
    assert fitted.unit == ("hidden token" if kind == "bert" else "token")
    assert fitted.validation <= fitted.validation_start
    assert all(np.isfinite(one.loss) for one in fitted.compared)


def test_losses_of_rows_add_up(tiny: Tiny) -> None:
    for kind in ("llama", "t5", "bert"):
        loaded = load_base(find_base(str(tiny(kind))))
        objective = make_objective(loaded.task, loaded.tokenizer)
        examples = [Example.pair(f"What is {n}?", f"It is {n}. " * (1 + n % 4)) for n in range(9)]
        rows = objective.held_out(objective.encode(examples, 128, "test").rows)
        with torch.no_grad():
            by_row = objective.losses(loaded.model, rows)
            alone = torch.stack([objective.loss_sum(loaded.model, [row]) for row in rows])
            together = objective.loss_sum(loaded.model, rows)
        assert len({round(float(loss), 3) for loss in alone}) > 3
        torch.testing.assert_close(by_row, alone, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(by_row.sum(), together, rtol=1e-4, atol=1e-3)
        # However rows are put together for a pass, every loss stays with its row.
        stack = Trial(loaded.model, objective, _no_stack(loaded.model))
        shown = stack.losses(torch.zeros(1, 1), rows)
        np.testing.assert_allclose(shown, alone.numpy(), rtol=1e-4, atol=1e-3)


def _no_stack(model: Any) -> Mixture:
    """A stack of one adapter that adds nothing, on any layer."""
    from lftreg.composer.fitting.mixture import Stacked

    linear = next(module for module in model.modules() if isinstance(module, torch.nn.Linear))
    a, b = torch.zeros(1, linear.in_features), torch.zeros(linear.out_features, 1)
    return Mixture([Stacked(linear, 0, a, b, torch.zeros(1, dtype=torch.long), False)], ["*"], 1)


def test_the_interval_is_paired_and_keeps_prompts_together() -> None:
    dice = np.random.default_rng(0)
    hard = dice.normal(3.0, 2.0, 40)  # rows differ far more than candidates do
    sums = np.stack([hard, hard - 0.1 + dice.normal(0, 0.01, 40), hard + 0.5])
    names: Any = [("a", "single"), ("the fit", "fit"), ("random adapters", "control")]
    keys = [str(n) for n in range(40)]
    single, fit, _ = compare(names, sums, [1] * 40, keys, 0)
    assert single.ci95 is None
    assert fit.ci95 == pytest.approx((-0.1, -0.1), abs=0.01)
    beats, said = judge(compare(names, sums, [1] * 40, keys, 0), "token", 40)
    assert beats and "on 40 held-out prompts" in said
    assert fit.fit_ci95 is None
    assert single.fit_ci95 == fit.ci95
    # Every row four times over is no more evidence than it is once.
    noisy = np.stack([hard, hard - 0.2 + dice.normal(0, 1, 40), hard + 0.5])
    once = compare(names, noisy, [1] * 40, keys, 0)[1].ci95
    often = compare(names, np.repeat(noisy, 4, axis=1), [1] * 160, [k for k in keys for _ in range(4)], 0)[
        1
    ].ci95
    assert once is not None and often == pytest.approx(once)


def test_what_does_as_well_as_a_fit_that_won_is_told() -> None:
    single = Compared("a@1", "single", 2.0, None, (-0.3, -0.1))
    fit = Compared("the fit", "fit", 1.8, (-0.3, -0.1), None)
    base = Compared("the bare base", "base", 1.81, (-0.3, -0.1), (-0.1, 0.0))
    worse = Compared("equal weights", "equal", 1.9, (-0.2, -0.1), (-0.2, -0.1))
    control = Compared("random adapters", "control", 1.7, (-0.4, -0.2), (0.1, 0.2))
    beats, said = judge([base, single, worse, fit, control], "token", 30)
    assert beats
    assert said.endswith("than the bare base (1.810) and random adapters (1.700)")
    assert "no better" not in judge([single, worse, fit], "token", 30)[1]
    for bounds in ((-0.3, 0.0), (0.0, 0.0), (-0.3, 0.1)):
        beats, said = judge([single, Compared("the fit", "fit", 1.8, bounds, None)], "token", 30)
        assert not beats and said.startswith(
            "the fit did not beat the best single adapter, a@1: 1.800 against"
        )


def test_adapters_that_only_harm_are_told_by_the_bare_base(write: Write, registry: Registry) -> None:
    fitted = fit_weights(["a", "b"], [write(0.0, 0.0)], registry=registry)
    assert fitted.weights == pytest.approx((0.0, 0.0), abs=0.2)
    assert (
        not fitted.beats_best_single
        or "no better, as far as can be told, than the bare base" in fitted.verdict
    )


@pytest.mark.parametrize(
    ("refs", "options", "code", "words"),
    [
        (["a:0.7", "b"], {}, "weights", "comes with a weight, 0.7"),
        (["a", "a@1"], {}, "same-adapter", "a@1 and a@1 are the same adapter"),
        (["a", "b"], {"per": "module"}, "usage", "per 'module'"),
        (["a", "b"], {"steps": 0}, "usage", "0 steps"),
        (["a", "b"], {"max_length": 0}, "usage", "--max-length 0"),
        (["a", "b"], {"base": "starter"}, "different-bases", "another base than starter"),
        ([], {}, "usage", "nothing to compose"),
    ],
)
def test_what_is_refused(
    refs: list[str], options: dict[str, Any], code: str, words: str, write: Write, registry: Registry
) -> None:
    with pytest.raises(UsageError, match=words) as told:
        fit_weights(refs, [Path("rows.jsonl")], registry=registry, **options)
    assert told.value.code == code
    assert told.value.hint


def test_bad_data_is_named(write: Write, registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "own.jsonl"

    def rows(count: int, split: str | None = None) -> None:
        own = [
            {"prompt": f"{n}?", "response": "So."} | ({"split": split} if split else {}) for n in range(count)
        ]
        if split:
            own[0]["split"] = "validation"
        file.write_text("".join(json.dumps(row) + "\n" for row in own))

    rows(5)
    with pytest.raises(InvalidData, match="5 rows") as told:
        fit_weights(["a"], [file], registry=registry)
    assert told.value.code == "few-rows"
    rows(30, "train")
    with pytest.raises(InvalidData, match="no row falls to test"):
        fit_weights(["a"], [file], registry=registry)
    rows(30)
    with pytest.raises(InvalidData, match="longer than 2 tokens"):
        fit_weights(["a"], [file], registry=registry, max_length=2)
    with pytest.raises(UsageError, match="no file"):
        fit_weights(["a"], [], registry=registry)
    with pytest.raises(NotFound, match="no file"):
        fit_weights(["a"], [tmp_path / "none.jsonl"], registry=registry)


def test_other_sorts_of_adapters_are_refused(write: Write, registry: Registry, tmp_path: Path) -> None:
    file = write(1.0, 0.0, rows=60)
    found = find_base(registry.get("a").base.id)
    publish_random(registry, found, tmp_path, "dora", 3, use_dora=True)
    with pytest.raises(Incompatible, match="DoRA") as told:
        fit_weights(["a", "dora"], [file], registry=registry)
    assert told.value.code == "uses-use-dora"
    publish_random(registry, find_base("starter"), tmp_path, "other", 4)
    with pytest.raises(Incompatible, match="different bases"):
        fit_weights(["a", "other"], [file], registry=registry)


def test_a_classifier_is_refused(write: Write, registry: Registry, tmp_path: Path) -> None:
    from lftreg.registry import Draft

    version = registry.get("b")
    config = dict(registry.config(version)) | {"task_type": "SEQ_CLS"}
    registry.publish(Draft("c", "trained", version.base, registry.file(version, WEIGHTS), config))
    with pytest.raises(Incompatible, match="a@1 is an adapter of a causal language model and c@1") as told:
        fit_weights(["a", "c"], [Path("x")], registry=registry)
    assert told.value.code == "different-tasks"
    with pytest.raises(Incompatible, match="c@1 is a classifier"):
        fit_weights(["c"], [Path("x")], registry=registry)


def test_a_loss_that_is_no_number_is_named(write: Write, registry: Registry, tmp_path: Path) -> None:
    """An adapter that overflows at any weight but 0: the search leaves 0 at the first step."""
    from lftreg.registry import Draft

    file = write(1.0, 0.0, rows=60)
    version = registry.get("a")
    huge = {key: tensor * 1e30 for key, tensor in load_file(registry.file(version, WEIGHTS)).items()}
    save_file(huge, tmp_path / "huge.safetensors")
    draft = Draft("huge", "trained", version.base, tmp_path / "huge.safetensors", registry.config(version))
    registry.publish(draft)
    with pytest.raises(LftregError, match="no number") as told:
        fit_weights(["huge"], [file], registry=registry)
    assert told.value.code == "not-finite"


def test_ctrl_c_goes_through(write: Write, registry: Registry) -> None:
    def interrupt(doing: str, done: int = 0) -> None:
        if 0 < done < 40:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit_weights(["a"], [write(1.0, 0.0, rows=60)], registry=registry, listen=interrupt)
    assert {version.name for version in registry.list()} == {"a", "b"}
