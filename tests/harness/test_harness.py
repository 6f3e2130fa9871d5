from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest
import torch

import lftreg.harness
from lftreg.errors import LftregError, NotFound, UsageError
from lftreg.harness import register
from lftreg.models.attach import AdapterModel
from lftreg.models.base import find_base
from lftreg.models.generate import generate
from lftreg.models.load import Loaded, load_base
from lftreg.paths import starter_folder
from lftreg.registry import WEIGHTS, Registry, Version
from lftreg.remotes.folder import export_folder

from ..composer.random_parents import publish_random
from ..conftest import Tiny
from .conftest import QUESTIONS, TASKS, TEXTS, TOKENS

pytestmark = pytest.mark.slow

lm_eval = pytest.importorskip("lm_eval")
PYPROJECT = Path(__file__).parents[2] / "pyproject.toml"
EXACT = {"dtype": "float32", "device": "cpu"}


@pytest.fixture
def odd(registry: Registry, tmp_path: Path) -> Version:
    """An adapter of the starter that changes what it says."""
    return publish_random(registry, find_base("starter", registry), tmp_path, "odd", seed=3)


def evaluated(tasks: Path, names: list[str], model: str = "lftreg", **how: Any) -> dict[str, Any]:
    """What lm-eval finds, by its own front door for Python."""
    register()
    args = how.pop("model_args")
    found: dict[str, Any] = lm_eval.simple_evaluate(
        model,
        model_args={"dtype": "float32", **args},
        tasks=names,
        device="cpu",
        batch_size=how.pop("batch_size", 2),
        task_manager=lm_eval.tasks.TaskManager(include_path=str(tasks), include_defaults=False),
        bootstrap_iters=0,
        **how,
    )
    return found


def scorer(ref: str, **options: Any) -> Any:
    register()
    from lm_eval.api.registry import get_model

    return get_model("lftreg")(ref=ref, **EXACT | options)


def asked(*pairs: tuple[str, ...]) -> list[Any]:
    from lm_eval.api.instance import Instance

    kind = "loglikelihood" if len(pairs[0]) == 2 else "loglikelihood_rolling"
    return [Instance(kind, {}, pair, number) for number, pair in enumerate(pairs)]


class Plain:
    """The same model without lm-eval: one row at a time, the logarithm of each token's probability."""

    def __init__(self, registry: Registry, ref: str, quantize: str | None = None) -> None:
        self.version = None if ref.startswith("base:") else registry.get(ref)
        base = ref.removeprefix("base:") if self.version is None else self.version.base.id
        self.loaded: Loaded = load_base(find_base(base, registry), "float32", quantize=quantize)
        self.adapters = AdapterModel(self.loaded)
        if self.version is not None:
            file = registry.file(self.version, WEIGHTS)
            self.adapters.attach("one", registry.config(self.version), file)

    def token_scores(self, row: list[int]) -> list[float]:
        """Nats of each token of a row but the first, after all before it."""
        ids = torch.tensor([row])
        with self.adapters.using(self.version and "one") as model, torch.inference_mode():
            logits = model(input_ids=ids[:, :-1]).logits[0].double()  # int8 would hear of the last one, too
        return logits.log_softmax(-1).gather(1, ids[0, 1:, None])[:, 0].tolist()

    def continued(self, context: str, more: str) -> float:
        ids = self.loaded.tokenizer(context + more)["input_ids"]
        before = len(self.loaded.tokenizer(context)["input_ids"])
        return sum(self.token_scores(ids)[before - 1 :])

    def whole(self, text: str, limit: int = 1024) -> float:
        """A text from its first token on, in windows of `limit` of which the last is as full as the others."""
        ids = [self.loaded.tokenizer.bos_token_id, *self.loaded.tokenizer(text)["input_ids"]]
        total = 0.0
        for start in range(1, len(ids), limit):
            end = min(start + limit, len(ids))
            row = ids[max(0, end - limit - 1) : end]
            total += sum(self.token_scores(row)[-(end - start) :])
        return total


@pytest.mark.parametrize("ref", ["base:starter", "odd"])
def test_choices_are_scored_with_the_likelihoods_of_our_own_model(
    ref: str, odd: Version, registry: Registry, tasks: Path
) -> None:
    found = evaluated(tasks, ["local_choice"], model_args={"ref": ref})
    plain, right = Plain(registry, ref), 0
    for sample in found["samples"]["local_choice"]:
        doc = sample["doc"]
        told = [float(response[0][0]) for response in sample["resps"]]
        own = [plain.continued(doc["question"], choice) for choice in doc["choices"]]
        assert told == pytest.approx(own, abs=1e-4)
        right += own.index(max(own)) == doc["gold"]
    assert found["results"]["local_choice"]["acc,none"] == pytest.approx(right / 3)


@pytest.mark.parametrize("ref", ["base:starter", "odd"])
def test_a_text_longer_than_the_base_is_scored_token_by_token(
    ref: str, odd: Version, registry: Registry, tasks: Path
) -> None:
    found = evaluated(tasks, ["local_text"], model_args={"ref": ref})
    plain = Plain(registry, ref)
    pages = [row["page"] for row in TEXTS]
    own = [plain.whole(page) for page in pages]
    assert len(plain.loaded.tokenizer(pages[1])["input_ids"]) > 1024 + 1
    told = [float(sample["resps"][0][0]) for sample in found["samples"]["local_text"]]
    assert told == pytest.approx(own, rel=1e-5, abs=1e-4)
    bits = -sum(own) / torch.tensor(2.0).log().item() / sum(len(page.encode()) for page in pages)
    assert found["results"]["local_text"]["bits_per_byte,none"] == pytest.approx(bits, rel=1e-5)


@pytest.mark.parametrize("ref", ["base:starter", "odd"])
def test_answers_are_those_of_generate(ref: str, odd: Version, registry: Registry, tasks: Path) -> None:
    found = evaluated(tasks, ["local_answer"], model_args={"ref": ref}, apply_chat_template=True)
    told = [sample["resps"][0][0].strip() for sample in found["samples"]["local_answer"]]
    prompts = [row["question"] for row in QUESTIONS]
    assert told == [made.text for made in generate(ref, prompts, registry=registry, max_tokens=TOKENS)]
    assert len(set(told)) > 1


def test_a_base_without_a_template_is_asked_as_it_is_trained(
    registry: Registry, tiny_gpt2: Path, tasks: Path
) -> None:
    ref = f"base:{tiny_gpt2}"
    found = evaluated(tasks, ["local_answer"], model_args={"ref": ref}, apply_chat_template=True)
    told = [sample["resps"][0][0].strip() for sample in found["samples"]["local_answer"]]
    prompts = [row["question"] for row in QUESTIONS]
    assert told == [made.text for made in generate(ref, prompts, registry=registry, max_tokens=TOKENS)]


def test_results_are_those_of_the_exported_folder_in_lm_evals_own_model(
    odd: Version, registry: Registry, tasks: Path, tmp_path: Path
) -> None:
    folder = export_folder(registry, odd, tmp_path / "exported")
    names = list(TASKS)
    ours = evaluated(tasks, names, model_args={"ref": "odd"})
    peft = {"pretrained": str(starter_folder()), "peft": str(folder)}
    theirs = evaluated(tasks, names, model="hf", model_args=peft)
    bare = evaluated(tasks, names, model_args={"ref": "base:starter"})
    for name in names:
        scores = {key: value for key, value in ours["results"][name].items() if isinstance(value, float)}
        assert scores == pytest.approx({key: theirs["results"][name][key] for key in scores}, rel=1e-6)
    said = [[sample["resps"] for sample in run["samples"]["local_answer"]] for run in (ours, theirs, bare)]
    assert said[0] == said[1] != said[2]
    perplexity = [run["results"]["local_text"]["word_perplexity,none"] for run in (ours, bare)]
    assert perplexity[0] != pytest.approx(perplexity[1], rel=0.01)


def test_results_tell_which_adapter_they_are_of(odd: Version, registry: Registry, tasks: Path) -> None:
    registry.alias("odd", "prod")
    config = evaluated(tasks, ["local_choice"], model_args={"ref": "odd@prod"})["config"]
    assert config["model"] == "lftreg"
    assert config["model_args"]["ref"] == "odd@prod"
    assert config["model_sha"] == config["lftreg_digest"] == odd.digest
    assert config["lftreg_ref"] == odd.ref
    assert config["model_revision"] == str(odd.number)
    assert config["lftreg_base_fingerprint"] == odd.base.fingerprint
    json.dumps(config)


def test_results_of_a_bare_base_tell_its_fingerprint(registry: Registry) -> None:
    base = find_base("starter", registry).record
    told = scorer("base:starter").get_model_info()
    assert (told["model_sha"], told["lftreg_digest"]) == (base.fingerprint, None)
    assert told["model_num_parameters"] == base.parameters


@pytest.mark.parametrize("quantize", ["int8", "nf4"])
def test_a_quantised_base_scores_as_quantised(quantize: str, odd: Version, registry: Registry) -> None:
    pytest.importorskip("bitsandbytes")
    pair = ("What do I need to send something back?", " a receipt from the shop")
    model = scorer("odd", quantize=quantize)
    ((told, _),) = model.loglikelihood(asked(pair), disable_tqdm=True)
    assert told == pytest.approx(Plain(registry, "odd", quantize).continued(*pair), abs=1e-4)
    assert told != pytest.approx(Plain(registry, "odd").continued(*pair), abs=1e-3)
    assert model.get_model_info()["lftreg_quantize"] == quantize


def test_a_sequence_to_sequence_base_is_scored_by_its_decoder(tiny: Tiny, registry: Registry) -> None:
    model = scorer(f"base:{tiny('t5')}")
    ((told, _),) = model.loglikelihood(asked(("Where is it?", "here it is")), disable_tqdm=True)
    loaded = load_base(find_base(str(tiny("t5")), registry), "float32")
    source = torch.tensor([loaded.tokenizer("Where is it?")["input_ids"]])
    target = torch.tensor([loaded.tokenizer("here it is", add_special_tokens=False)["input_ids"]])
    with torch.inference_mode():
        mean = loaded.model(input_ids=source, labels=target).loss.item()
    assert told == pytest.approx(-mean * target.numel(), abs=1e-4)


def test_a_name_that_looks_like_a_number_is_a_name(registry: Registry, tmp_path: Path, tasks: Path) -> None:
    publish_random(registry, find_base("starter", registry), tmp_path, "2024", seed=1)
    found = evaluated(tasks, ["local_choice"], model_args={"ref": 2024})
    assert found["config"]["lftreg_ref"] == "2024@1"


@pytest.mark.parametrize(
    ("how", "error", "says"),
    [
        ({"ref": "od"}, NotFound, "odd"),
        ({"ref": "base:nowhere/at-all"}, LftregError, "nowhere/at-all"),
        ({}, UsageError, "no REF"),
        ({"ref": "odd", "pretrained": "base:starter"}, UsageError, "two REFs"),
        ({"ref": "odd", "quantise": "nf4"}, NotFound, "'quantize'"),
        ({"ref": "odd", "peft": "somewhere"}, NotFound, "'peft'"),
        ({"ref": "odd", "quantize": "int3"}, UsageError, "int3"),
        ({"ref": "odd", "dtype": "float8"}, UsageError, "float8"),
        ({"ref": "odd", "device": "gpu nine"}, UsageError, "gpu nine"),
    ],
)
def test_what_cannot_be_scored_is_refused_in_a_sentence(
    how: dict[str, Any], error: type[LftregError], says: str, odd: Version
) -> None:
    register()
    from lm_eval.api.registry import get_model

    with pytest.raises(error, match=says) as raised:
        get_model("lftreg")(**how)
    assert raised.value.__notes__ == [f"hint: {raised.value.hint}"]


def test_a_model_that_does_not_write_is_refused(tiny: Tiny) -> None:
    with pytest.raises(UsageError, match="masked language model"):
        scorer(f"base:{tiny('bert')}")


def test_one_process_scores(odd: Version, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(UsageError, match="one process"):
        scorer("odd")


def test_the_entry_point_is_a_model_of_lm_eval(tmp_path: Path, odd: Version) -> None:
    """As a version that discovers them does it: the group, a placeholder, and the class once it is asked for."""
    from lm_eval.api.model import LM
    from lm_eval.api.registry import get_model, model_registry

    told = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["entry-points"]["lm_eval.models"]
    (name,) = told
    assert name == "lftreg"
    model_registry.register(
        f"discovered-{tmp_path.name}", target=EntryPoint(name, told[name], "lm_eval.models")
    )
    found = get_model(f"discovered-{tmp_path.name}")
    assert issubclass(found, LM)
    assert found.create_from_arg_string("ref=odd", {"device": "cpu"}).scored.ref == odd.ref


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=240)


def test_without_lm_eval_the_extra_is_named() -> None:
    hidden = (
        "import sys; sys.modules['lm_eval'] = None; import lftreg.harness; sys.exit(lftreg.harness.main())"
    )
    ended = run("-c", hidden, "--model", "lftreg")
    assert ended.returncode == 5
    assert ended.stderr.splitlines() == [
        "error: scoring with lm-evaluation-harness needs lm-eval, which is not installed",
        " hint: pip install 'lftreg[harness]'",
    ]


def test_the_room_loads_nothing_heavy_before_it_is_asked() -> None:
    ended = run(
        "-c", "import sys, lftreg.harness; print({'torch', 'lm_eval', 'sqlalchemy'} & set(sys.modules))"
    )
    assert ended.stdout == "set()\n"


def test_the_command_prints_lm_evals_table_and_keeps_the_digest(
    odd: Version,
    tasks: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    words = [
        "lftreg.harness", "--model", "lftreg", "--model_args", "pretrained=odd@1",
        "--tasks", ",".join(TASKS), "--include_path", str(tasks), "--output_path", str(out),
        "--apply_chat_template", "--batch_size", "4",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", words)
    assert lftreg.harness.main() == 0
    said = capsys.readouterr().out
    for name in TASKS:
        assert f"|{name}" in said.replace(" ", "")
    (results,) = out.rglob("results_*.json")
    assert results.parent.name == "odd@1"
    assert json.loads(results.read_text(encoding="utf-8"))["config"]["model_sha"] == odd.digest


def test_the_command_refuses_an_unknown_ref_without_a_traceback(odd: Version, tasks: Path) -> None:
    ended = run(
        "-m", "lftreg.harness", "run", "--model", "lftreg", "--model_args", "ref=oddd",
        "--tasks", "local_choice", "--include_path", str(tasks),
    )  # fmt: skip
    assert ended.returncode == 3
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-2].startswith("error: unknown adapter 'oddd'")
    assert ended.stderr.splitlines()[-1].startswith(" hint: ")
