"""Every family trains for real: registered, answered with, and told apart from its bare base."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from lftreg.errors import Incompatible, InvalidData, UsageError
from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.generate import Decoding, Speaker, generate
from lftreg.models.load import load_base, stop_ids
from lftreg.models.tasks import CLASSIFY, task_of
from lftreg.objectives import make_objective
from lftreg.objectives.classify import labels_of
from lftreg.plugins.types import Domain, Example, Message, Split
from lftreg.registry import WEIGHTS, Registry, Version
from lftreg.training import make_plan, train
from tests.conftest import TINY, Tiny, save_tiny
from tests.training.evaluating import evaluate

pytestmark = pytest.mark.slow

CAUSAL = [kind for kind, (loader, _) in TINY.items() if loader == "AutoModelForCausalLM"]
ASKED = ("Where is the lamp?", "Who rings the bell?", "When does the boat leave?", "Why is the door blue?")
LINE = "red apples in a pan"
FAST: dict[str, Any] = {"lr": 2e-2, "rank": 8, "epochs": 90, "patience": 90}
GENTLE: dict[str, Any] = {"lr": 3e-3, "epochs": 40, "patience": 40}


def parrot() -> Domain:
    """A domain that answers everything with one line."""
    rows = [Example.pair(f"{asked} {n}", LINE) for n, asked in enumerate(ASKED * 3)]
    return Domain("parrot", LINE, lambda split, seed: rows)


def letters() -> Domain:
    """Texts under two labels that one word tells apart, and nothing but it: splits differ by the number alone."""
    first = {"train": 0, "validation": 20, "test": 40}

    def build(split: Split, seed: int) -> list[Example]:
        kinds = (("watch", "spam"), ("parcel", "post"))
        return [
            Example.passage(f"letter {first[split] + n}: your {word} is here", label)
            for n in range(12)
            for word, label in kinds
        ]

    return Domain("letters", "letters", build)


def trained(base: Path, registry: Registry, domain: Domain, **options: Any) -> Version:
    return train(domain, base=str(base), registry=registry, **(FAST | options))


def measured_again(version: Version, domain: Domain, registry: Registry) -> float:
    """The validation loss of what is in the registry, on a base that was loaded afresh."""
    found = find_base(version.base.id)
    task = task_of(found.config, registry.config(version))
    labels = labels_of(list(domain.build("train", 0))) if task is CLASSIFY else ()
    loaded = load_base(found, task=task, labels=labels)
    objective = make_objective(task, loaded.tokenizer, stop_ids(found), labels=labels)
    rows = objective.held_out(objective.encode(list(domain.build("validation", 0)), 256, "validation").rows)
    model = AdapterModel(loaded)
    model.attach("it", registry.config(version), registry.file(version, WEIGHTS))
    with model.using("it") as adapted:
        return evaluate(adapted, objective, rows, 8)


def fell(version: Version, share: float) -> bool:
    """Whether the validation loss fell below a share of what it was."""
    assert version.run is not None
    losses = version.run.losses
    return losses["validation_after"] < share * losses["validation_before"]


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_causal_family_learns_to_answer(kind: str, tiny: Tiny, registry: Registry) -> None:
    base = tiny(kind)
    version = trained(base, registry, parrot())
    assert fell(version, 0.2)
    assert version.run is not None
    after = version.run.losses["validation_after"]
    assert measured_again(version, parrot(), registry) == pytest.approx(after, rel=1e-4)
    asked = parrot().build("train", 0)[0].prompt
    ours, bare = (
        generate(ref, asked, registry=registry, max_tokens=12)[0].text for ref in ("parrot", f"base:{base}")
    )
    assert ours == LINE != bare


def test_t5_learns_to_answer_and_to_stop(tiny: Tiny, registry: Registry) -> None:
    base = tiny("t5")
    version = trained(base, registry, parrot())
    assert version.run is not None
    after = version.run.losses["validation_after"]
    assert fell(version, 0.5)
    assert measured_again(version, parrot(), registry) == pytest.approx(after, rel=1e-4)
    assert registry.config(version)["task_type"] == "SEQ_2_SEQ_LM"
    assert generate("parrot", ASKED[0], registry=registry, max_tokens=40)[0].tokens < 40
    speaker = Speaker(["parrot", f"base:{base}"], registry)
    alone = speaker.answer("parrot", ASKED, Decoding(12))
    assert alone == [speaker.answer("parrot", [asked], Decoding(12))[0] for asked in ASKED]
    assert speaker.answer(f"base:{base}", ASKED[:1], Decoding(12))[0].text != alone[0].text
    said: list[str] = []
    turns = [Message("user", ASKED[0]), Message("assistant", "There."), Message("user", ASKED[1])]
    reply = speaker.reply("parrot", turns, Decoding(40), said.append)
    assert reply.text == "".join(said).strip() != ""


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_an_encoder_learns_the_words_of_a_domain(kind: str, tiny: Tiny, registry: Registry) -> None:
    base = tiny(kind)
    version = trained(base, registry, parrot())
    assert version.run is not None
    assert version.run.settings["task"] == "masked-lm"
    assert fell(version, 0.9)
    after = version.run.losses["validation_after"]
    assert measured_again(version, parrot(), registry) == pytest.approx(after, rel=1e-4)
    speaker = Speaker(["parrot", f"base:{base}"], registry)
    hidden = f"{ASKED[0]} red [MASK] in a pan"
    (ours,), (bare,) = (speaker.answer(ref, [hidden]) for ref in speaker.refs)
    assert ours.text.startswith(f"{ASKED[0]} red ")
    assert ours.text.endswith(" in a pan")
    assert ours.scores is not None
    assert len(ours.scores) == 5
    assert ours.scores != bare.scores
    with pytest.raises(InvalidData, match="hides no word"):
        speaker.answer("parrot", ["red apples"])
    with pytest.raises(UsageError, match="masked language model, which holds no conversations"):
        speaker.reply("parrot", [Message("user", "hello")], Decoding(), print)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_an_encoder_learns_labels(kind: str, tiny: Tiny, registry: Registry) -> None:
    version = trained(tiny(kind), registry, letters(), **GENTLE)
    assert version.run is not None
    assert version.run.losses["accuracy_after"] == 1.0
    after = version.run.losses["validation_after"]
    assert measured_again(version, letters(), registry) == pytest.approx(after, rel=1e-3, abs=1e-6)
    with safe_open(registry.file(version, WEIGHTS), framework="numpy") as file:
        assert json.loads(file.metadata()["labels"]) == ["post", "spam"]
        heads = {key.split(".")[2] for key in file.keys() if ".lora_" not in key}  # noqa: SIM118 no mapping
    assert heads == {"bert": {"bert", "classifier"}, "roberta": {"classifier"}}[kind]  # bert.pooler
    rows = list(letters().build("validation", 0))
    told = generate("letters", [row.text for row in rows], registry=registry)
    assert [answer.text for answer in told] == [row.label for row in rows]
    assert told[0].scores is not None
    assert sum(told[0].scores.values()) == pytest.approx(1)


def test_a_classifier_leaves_and_comes_back(tiny: Tiny, registry: Registry, tmp_path: Path) -> None:
    from lftreg.remotes.folder import export_folder, import_folder

    version = trained(tiny("bert"), registry, letters(), **GENTLE)
    folder = export_folder(registry, version, tmp_path / "out")
    back = import_folder(registry, folder, name="back", base=version.base)
    assert back.digest == version.digest
    asked = "letter 23: your watch is here"
    assert generate("back", asked, registry=registry) == generate("letters", asked, registry=registry)


def test_adapters_of_two_tasks_do_not_share_a_model(tiny: Tiny, registry: Registry) -> None:
    trained(tiny("bert"), registry, letters(), **GENTLE)
    with pytest.raises(Incompatible, match=r"letters is a classifier and base:.* a masked language model"):
        Speaker(["letters", f"base:{tiny('bert')}"], registry)


def test_a_classifier_of_one_label_is_refused(tiny: Tiny, registry: Registry) -> None:
    rows = [Example.passage(f"letter {n}", "post") for n in range(12)]
    one = Domain("one", "one", lambda split, seed: rows)
    with pytest.raises(InvalidData, match="every row has the label 'post'") as caught:
        trained(tiny("bert"), registry, one)
    assert caught.value.code == "one-label"


def test_an_encoder_without_its_head_is_refused(tiny: Tiny, registry: Registry, tmp_path: Path) -> None:
    """A bare BertModel has no head for words: transformers would draw one at random, without a word."""
    from transformers import AutoModel, AutoTokenizer

    AutoModel.from_pretrained(tiny("bert")).save_pretrained(tmp_path / "bare")
    AutoTokenizer.from_pretrained(tiny("bert")).save_pretrained(tmp_path / "bare")
    with pytest.raises(InvalidData, match="no whole masked language model: it lacks cls"):
        trained(tmp_path / "bare", registry, parrot())
    assert registry.list() == []
    assert trained(tmp_path / "bare", registry, letters(), **GENTLE).name == "letters"


@pytest.mark.parametrize("kind", ["bert", "t5", "llama"])
def test_one_seed_gives_the_same_bytes(kind: str, tiny: Tiny, registry: Registry) -> None:
    domain = letters() if kind == "bert" else parrot()
    digests = {trained(tiny(kind), registry, domain, **GENTLE, max_steps=24).digest for _ in range(3)}
    assert len(digests) == 1


def test_answers_over_the_limit_are_left_out_too(tiny: Tiny, registry: Registry) -> None:
    """The encoder's side of a row may be short where the answer is not."""
    rows = [*parrot().build("train", 0), Example.pair("Tell all.", "word " * 200)]
    long = Domain("long", "long", lambda split, seed: rows)
    plan = make_plan(long, name=None, base=str(tiny("t5")), registry=registry, max_length=40)
    assert plan.left_out == 3
    assert plan.examples["train"] == 12


def test_settings_of_causal_models_are_refused_elsewhere(tiny: Tiny, registry: Registry) -> None:
    with pytest.raises(UsageError, match="--prompt-dropout is for causal language models"):
        trained(tiny("t5"), registry, parrot(), prompt_dropout=0.5)
    with_default = Domain("parrot", LINE, parrot().build, defaults={"opening_weight": 5.0})
    plan = make_plan(with_default, name=None, base=str(tiny("t5")), registry=registry)
    assert plan.settings.opening_weight == 1.0


@pytest.mark.parametrize("kind", ["nf4", "int8"])
def test_a_quantised_encoder_learns_labels(kind: str, registry: Registry, tmp_path: Path) -> None:
    """Its fresh pooler and head stay whole: they are trained."""
    base = save_tiny("bert", tmp_path / "wide", hidden_size=64, intermediate_size=128)
    version = trained(base, registry, letters(), **GENTLE, quantize=kind)
    assert fell(version, 0.9)
    rows = list(letters().build("validation", 0))
    told = generate("letters", [row.text for row in rows], registry=registry, quantize=kind)
    assert {answer.text for answer in told} == {"post", "spam"}
