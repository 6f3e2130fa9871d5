"""Fine-tuning against retrieval through the real command: a random base of two layers, and the starter."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lftreg.evaluation.figures import interval
from lftreg.evaluation.statistics import compare
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.plugins.types import Measured, Outputs
from lftreg.registry import Registry
from tests import forks
from tests.cli.conftest import Done, Lftreg
from tests.conftest import Tiny
from tests.data.conftest import lines

ARMS = ["base", "few_shot", "adapter", "rag", "adapter_rag", "oracle"]
PRICE = 3.6  # dollars an hour: a thousand queries cost as many dollars as one takes seconds
FEW = ("--max-tokens", "6", "--limit", "5")


def row(number: int) -> dict[str, str]:
    return {
        "prompt": f"Where is the number{number} lantern kept?",
        "response": f"The number{number} lantern stands on shelf{number * 7}.",
    }


@pytest.fixture
def docs(tmp_path: Path) -> Path:
    """A document for every row but number 0 to 9."""
    folder = tmp_path / "docs"
    folder.mkdir()
    for number in range(10, 60):
        (folder / f"{number}.txt").write_text(row(number)["response"])
    return folder


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    return lines(tmp_path / "shop.jsonl", [row(number) for number in range(60)])


def run(home: Path, *words: str, code: int = 0, **variables: str) -> Done:
    done = forks.lftreg(*words, "--home", str(home), environment={**os.environ, **variables})
    assert done.returncode == code, done.stderr or done.stdout
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, tiny_llama: Path) -> Path:
    """A home with an adapter called shop, of the random base."""
    folder = tmp_path_factory.mktemp("compare")
    data = lines(folder / "shop.jsonl", [row(number) for number in range(60)])
    few = ("--base", str(tiny_llama), "--max-steps", "10", "--lr", "1e-2")
    run(folder / "home", "train", "--data", str(data), *few)
    return folder / "home"


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def score(name: str, answer: str, reference: str) -> float:
    outputs = Outputs(("",), (reference,), (answer,), ())
    (value,) = Host().metric(name).measure(outputs).values
    assert value is not None
    return value


@pytest.mark.slow
def test_every_figure_follows_from_the_answers(trained: Path, shop: Path, docs: Path, tmp_path: Path) -> None:
    kept = tmp_path / "out.json"
    words = ("compare", "--data", str(shop), "--docs", str(docs), "--max-tokens", "6", "--output", str(kept))
    found = run(trained, *words, "--json", LFTREG_PRICE_PER_HOUR=str(PRICE)).document
    assert json.loads(kept.read_text()) == found
    assert (found["data"], found["docs"], found["ref"]) == (str(shop), str(docs), "shop@1")
    assert found["metric"] == "token_f1" and list(found["arms"]) == ARMS
    items = found["items"]
    assert found["n"] == len(items) >= 3
    supported = [item for item in items if item["gold"]]
    for item in supported:
        assert item["gold"] == [f"{item['prompt'].split('number')[1].split()[0]}.txt#0"]
    for name, arm in found["arms"].items():
        asked = supported if name == "oracle" else items
        pairs = [(item["answers"][name], item["reference"]) for item in asked]
        f1 = [score("token_f1", *pair) for pair in pairs]
        assert arm["n"] == len(asked)
        assert arm["quality"] == arm["token_f1"] == pytest.approx(mean(f1))
        assert arm["rouge_l"] == pytest.approx(mean([score("rouge_l", *pair) for pair in pairs]))
        assert arm["exact_match"] == mean([score("exact_match", *pair) for pair in pairs])
        assert arm["ci95"] == pytest.approx(interval(f1))
        assert [item["quality"][name] for item in asked] == pytest.approx(f1)
        if name == "base":
            assert arm["delta"] is None and arm["delta_ci95"] is None
        else:
            base = [score("token_f1", item["answers"]["base"], item["reference"]) for item in asked]
            paired = compare(Measured(tuple(base)), Measured(tuple(f1)))
            assert arm["delta"] == pytest.approx(mean(f1) - mean(base))
            assert paired.ci95 is not None
            assert arm["delta_ci95"] == pytest.approx((max(paired.ci95[0], -1), min(paired.ci95[1], 1)))
        assert arm["cost_per_1000"] == pytest.approx(arm["seconds_per_query"])
        assert arm["ttft_ms"] > 0
        assert 0 <= arm["tokens_per_query"] - arm["prompt_tokens"] <= 6
        expected = {"1": 1.0, "3": 1.0, "5": 1.0} if name in ("rag", "adapter_rag") else None
        assert arm["recall_at_k"] == expected, "every question names its own lantern"
    prompts = {name: arm["prompt_tokens"] for name, arm in found["arms"].items()}
    assert prompts["base"] == prompts["adapter"] < prompts["few_shot"]
    assert prompts["base"] < prompts["rag"] == prompts["adapter_rag"]
    version = Registry(Home(trained)).get("shop")
    assert version.run is not None
    cost = version.run.seconds * PRICE / 3600
    for other, count in found["break_even"].items():
        saved = found["arms"][other]["cost_per_1000"] - found["arms"]["adapter"]["cost_per_1000"]
        assert count == (math.ceil(1000 * cost / saved) if saved > 0 else None)


@pytest.mark.slow
def test_the_table_names_every_arm_and_without_a_price_says_how_to_give_one(
    trained: Path, shop: Path, docs: Path
) -> None:
    done = run(trained, "compare", "shop", "--data", str(shop), "--docs", str(docs), *FEW)
    for title in (
        "base + examples",
        "adapter + search",
        "base + right passage",
        "breaks even",
        "timed question",
    ):
        assert title in done.out
    assert "$/1000" not in done.out
    assert "lftreg config set price_per_hour DOLLARS" in done.err
    assert "counted in time" in done.err
    words = ("--metric", "rouge_l", "--json")
    found = run(trained, "compare", "shop", "--data", str(shop), "--docs", str(docs), *FEW, *words).document
    assert all(arm["cost_per_1000"] is None for arm in found["arms"].values())
    assert all(arm["quality"] == arm["rouge_l"] for arm in found["arms"].values())
    assert found["n"] == 5 and found["price_per_hour"] is None


@pytest.mark.slow
def test_what_was_trained_on_is_not_asked(trained: Path, docs: Path, tmp_path: Path) -> None:
    """Rows of the adapter's own train as another file's test: all of them is an error, some are left out."""
    from lftreg.data.splits import key_of, remembered_split
    from lftreg.plugins.types import Example

    held_out, _ = remembered_split(Registry(Home(trained)), "shop")
    seen = [n for n in range(60) if key_of(Example.pair(row(n)["prompt"], "x")) not in held_out]
    new = [{"prompt": f"Who keeps lantern {n}?", "response": "The clerk does."} for n in range(6)]
    others = [
        *({"prompt": f"T{n}", "response": "x", "split": "train"} for n in range(4)),
        *({"prompt": f"V{n}", "response": "x", "split": "validation"} for n in range(4)),
    ]

    def asked(test: list[dict[str, str]]) -> Path:
        return lines(tmp_path / "other.jsonl", [*others, *({**one, "split": "test"} for one in test)])

    words = ("compare", "shop", "--docs", str(docs), "--max-tokens", "4", "--json")
    error = run(trained, *words, "--data", str(asked([row(n) for n in seen])), code=2).error
    assert error["code"] == "trained-on-test"
    mixed = asked([*(row(n) for n in seen[:3]), *new])
    found = run(trained, *words, "--data", str(mixed)).document
    assert {item["prompt"] for item in found["items"]} == {one["prompt"] for one in new}
    assert any("3 questions were trained on by shop@1" in note for note in found["notes"])


@pytest.mark.slow
def test_an_adapter_of_another_base_is_refused_by_name_and_left_out_otherwise(
    trained: Path, shop: Path, docs: Path
) -> None:
    words = ("compare", "--data", str(shop), "--docs", str(docs), *FEW, "--base", "starter", "--json")
    error = run(trained, *words, "shop", code=2).error
    assert error["code"] == "different-bases" and error["message"].startswith("shop@1 is an adapter of ")
    assert "--base" in error["hint"]
    found = run(trained, *words).document
    assert found["ref"] is None and found["base"] == "starter"
    assert list(found["arms"]) == ["base", "few_shot", "rag", "oracle"]
    assert found["break_even"] == {"rag": None, "few_shot": None}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_starter_answers_its_shop_s_questions_six_ways(tmp_path: Path) -> None:
    home, docs = tmp_path / "own-home", tmp_path / "handbook"
    docs.mkdir()
    rows = list(Host().domain("customer_support").build("test", 0))
    for place in range(0, len(rows), 6):
        answers = dict.fromkeys(row.response for row in rows[place : place + 6])
        (docs / f"{place}.md").write_text("# Answers\n\n" + "\n\n".join(answers))
    run(home, "train", "customer_support", "--max-steps", "4")
    words = ("--data", "customer_support", "--docs", str(docs), "--limit", "4", "--max-tokens", "8")
    found = run(home, "compare", *words, "--json").document
    assert found["ref"] == "customer_support@1" and list(found["arms"]) == ARMS
    for item in found["items"]:
        texts = [(docs / name.partition("#")[0]).read_text() for name in item["gold"]]
        assert texts and all(item["reference"] in text for text in texts), (
            "the oracle's passage holds the answer"
        )
    recall = found["arms"]["rag"]["recall_at_k"]
    assert 0 <= recall["1"] <= recall["3"] <= recall["5"] <= 1
    assert found["arms"]["rag"]["prompt_tokens"] > found["arms"]["oracle"]["prompt_tokens"]


@pytest.mark.parametrize(
    ("make", "code", "name"),
    [
        (lambda folder: None, 3, "unknown-folder"),
        (lambda folder: folder.mkdir(), 2, "no-documents"),
        (lambda folder: folder.write_text("a text"), 2, "no-folder"),
        (lambda folder: (folder.mkdir(), (folder / "a.txt").write_bytes(b"\0\1")), 2, "no-text"),
        (lambda folder: (folder.mkdir(), (folder / "a.docx").write_bytes(b"PK")), 2, "no-documents"),
    ],
)
def test_documents_that_cannot_be_read_are_named(
    lftreg: Lftreg, tmp_path: Path, make: Any, code: int, name: str
) -> None:
    folder = tmp_path / "handbook"
    make(folder)
    error = lftreg("compare", "--data", "customer_support", "--docs", str(folder), "--json", code=code).error
    assert error["code"] == name
    assert str(folder) in error["message"]


def test_data_that_is_none_and_an_output_that_cannot_be_are_told_before_any_work(
    lftreg: Lftreg, docs: Path, tmp_path: Path
) -> None:
    words = ("compare", "--docs", str(docs), "--json", "--data")
    error = lftreg(*words, "custmer_support", code=3).error
    assert error["code"] == "unknown-data" and "customer_support" in error["hint"]
    assert lftreg(*words, "gone.jsonl", code=3).error["message"] == "no file gone.jsonl"
    error = lftreg(*words, "customer_support", "--output", "gone/out.json", code=3).error
    assert error["code"] == "unknown-folder"
    error = lftreg(*words, "customer_support", "--output", str(tmp_path), code=2).error
    assert "is a folder" in error["message"]
    own = lines(tmp_path / "own.jsonl", [row(1)])
    error = lftreg(*words, "customer_support", "--output", str(own), code=2).error
    assert error["code"] == "exists" and json.loads(own.read_text()) == row(1)
    assert lftreg(*words, "customer_support", "--map", "prompt=x", code=2).error["code"] == "usage"
    assert (
        lftreg("compare", "nobody", *words[1:], "customer_support", code=3).error["code"] == "unknown-adapter"
    )
    assert lftreg(*words, "customer_support", "--top-k", "0", code=2).error["code"] == "usage"


def test_a_base_that_writes_no_answers_is_refused_before_it_is_read(
    lftreg: Lftreg, docs: Path, tiny: Tiny
) -> None:
    words = ("compare", "--data", "customer_support", "--docs", str(docs), "--base", str(tiny("bert")))
    error = lftreg(*words, "--json", code=2).error
    assert "writes no answers" in error["message"]


def test_without_bm25s_it_is_said_what_to_install(environment: dict[str, str], docs: Path) -> None:
    program = "import sys; sys.modules['bm25s'] = None; from lftreg.cli.main import main; sys.exit(main())"
    words = ("compare", "--data", "customer_support", "--docs", str(docs), "--json")
    done = subprocess.run(
        [sys.executable, "-c", program, *words], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 5, done.stderr
    assert json.loads(done.stderr)["error"]["hint"] == "pip install 'lftreg[eval]'"
