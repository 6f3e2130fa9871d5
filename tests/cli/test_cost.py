"""`lftreg cost`: of runs that were, and of runs to come."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lftreg.registry.records import Version
from lftreg.training.losses import LOSSES, Losses
from tests.cli.conftest import RUN, Lftreg, Publish
from tests.cli.test_main import HEAVY, imported_by

pytestmark = pytest.mark.slow

KEYS = {
    "ref", "domain", "device", "price_per_hour", "priced", "train", "full_fine_tune", "per_query", "break_even_queries",
}  # fmt: skip
CPU_COST = {"usd": 0.01, "price_per_hour": 0.6, "device": "cpu"}
TABLE = """
[[device]]
name = "H100"
memory = 80
bfloat16 = 1000
float32 = 50
utilisation = 0.5
price = 7.2
seen = "my contract, 2026-11-20"
"""


@pytest.fixture
def paid(publish: Publish) -> Version:
    """A run of 58.5 seconds whose price was known."""
    cost = {"usd": 0.0325, "price_per_hour": 2.0, "device": "NVIDIA H100 80GB HBM3"}
    return publish(
        "support", domain="customer_support", run=replace(RUN, settings={"memory": 10**9, "cost": cost})
    )


def test_what_a_run_took_is_told_as_it_was_measured(lftreg: Lftreg, paid: Version) -> None:
    document = lftreg("cost", "support", "--json").document
    assert set(document) >= KEYS
    assert (document["ref"], document["domain"], document["device"]) == ("support@1", None, "H100")
    train = document["train"]
    assert {key: train[key] for key in ("seconds", "money", "memory", "measured")} == {
        "seconds": 58.5, "money": 0.0325, "memory": 10**9, "measured": True,
    }  # fmt: skip
    base, adapter = train["base_parameters"], train["adapter_parameters"]
    assert (base, adapter) == (12_600_000, 64)
    full = document["full_fine_tune"]
    assert full["seconds"] == pytest.approx(58.5 * 6 * base / (4 * base + 6 * adapter))
    assert (full["memory"], full["fits"], full["gpus"]) == (16 * base, True, 1)
    assert document["price_per_hour"] == 2.0  # what was paid, not what the table says
    page = lftreg("cost", "support").out
    assert "58 s, $0.03, 1.0 GB at most (measured)" in page
    assert page.count("(estimated)") == 2
    assert page.count("(estimated, one at a time)") == 2
    assert "hangs on" in page and "--concurrency N" in page


def test_a_query_and_the_break_even_follow_from_the_run(lftreg: Lftreg, paid: Version) -> None:
    words = ("--prompt-tokens", "40", "--answer-tokens", "60", "--context-tokens", "100", "--top-k", "5")
    document = lftreg("cost", "support", *words, "--queries-per-month", "1000", "--json").document
    base, adapter = 12_600_000, 64
    rate, bandwidth = 989e12 * 0.35, 3350e9  # of an H100
    tuned, retrieved = document["per_query"]["adapter"], document["per_query"]["rag"]
    assert (tuned["tokens"], retrieved["tokens"]) == (100, 600)
    # So short a question waits for the weights to be read, one behind passages for arithmetic; every answer for memory.
    assert tuned["seconds"] == pytest.approx(2 * (base + adapter) * 61 / bandwidth)
    assert retrieved["seconds"] == pytest.approx(2 * base * 540 / rate + 2 * base * 60 / bandwidth)
    assert retrieved["money"] == pytest.approx(retrieved["seconds"] * 2.0 / 3600)
    saved = retrieved["money"] - tuned["money"]
    assert document["break_even_queries"] == pytest.approx(0.0325 / saved, rel=1e-5)
    assert [one["at_once"] for one in document["break_even"]] == [1, 64]
    assert document["per_month"]["rag"]["money"] == pytest.approx(1000 * retrieved["money"])
    assert document["per_month"]["months_to_break_even"] == document["break_even_queries"] / 1000
    assert document["traffic"]["lengths_by"] == "as told"


def test_an_answer_waits_for_memory_and_many_at_once_share_it(lftreg: Lftreg) -> None:
    words = ("cost", "customer_support", "--before", "--gpu-type", "H100", "--answer-tokens", "80", "--json")
    alone, many = lftreg(*words).document, lftreg(*words, "--concurrency", "8").document
    weights = alone["train"]["base_parameters"]
    assert alone["per_query"]["rag"]["writing"] == pytest.approx(80 * 2 * weights / 3350e9)
    assert many["per_query"]["rag"]["writing"] == pytest.approx(10 * 2 * weights / 3350e9)
    assert [one["at_once"] for one in many["break_even"]] == [8]
    page = lftreg(*words[:-1]).out
    pays_off = next(line for line in page.splitlines() if line.startswith("pays off"))
    assert re.search(
        r"after about [\d,]+0 queries one at a time, after about [\d,]+0 queries with 64 at once", pays_off
    )
    assert "queries with 8 at once (estimated)" in lftreg(*words[:-1], "--concurrency", "8").out


def test_another_price_counts_in_every_line(lftreg: Lftreg, paid: Version, tmp_path: Path) -> None:
    (tmp_path / "user" / "lftreg").mkdir(parents=True)
    (tmp_path / "user" / "lftreg" / "devices.toml").write_text(TABLE)
    paid_for = lftreg("cost", "support", "--json").document
    table = lftreg("cost", "support", "--gpu-type", "H100", "--json").document
    assert (table["priced"]["seen"], table["price_per_hour"]) == ("my contract, 2026-11-20", 7.2)
    mine = lftreg("cost", "support", "--price-per-hour", "3.6", "--json").document
    assert (mine["price_per_hour"], mine["priced"]["seen"]) == (3.6, None)
    for document, price in ((paid_for, 2.0), (table, 7.2), (mine, 3.6)):
        priced = (
            document["train"],
            document["full_fine_tune"],
            *(document["per_query"][k] for k in ("adapter", "rag")),
        )
        for one in priced:
            assert one["money"] == pytest.approx(one["seconds"] * price / 3600)
        assert document["break_even"] == paid_for["break_even"]  # a ratio of times, at any price


def test_what_one_machine_took_is_not_set_beside_another(lftreg: Lftreg, publish: Publish) -> None:
    publish("support", domain="customer_support", run=replace(RUN, settings={"cost": CPU_COST}))
    error = lftreg("cost", "support", "--gpu-type", "H100", "--json", code=2).error
    assert error["code"] == "another-machine"
    assert error["message"] == "support@1 was trained on cpu, and what it took there tells nothing of H100"
    assert "lftreg cost customer_support --before --gpu-type H100" in error["hint"]
    document = lftreg("cost", "support", "--json").document
    assert document["device"] == "cpu"
    assert document["per_query"]["rag"]["seconds"] > 0


def test_what_foretells_a_run_elsewhere_names_the_files_of_this_one(
    lftreg: Lftreg, publish: Publish, tmp_path: Path
) -> None:
    data = tmp_path / "my inbox.jsonl"
    data.write_text("".join(f'{{"q": "What is {n}?", "a": "It is {n}."}}\n' for n in range(40)))
    source = {"data": [str(data)], "map": ["prompt=q", "response=a"]}
    publish("inbox", domain="inbox", run=replace(RUN, settings={"cost": CPU_COST, "source": source}))
    hint = lftreg("cost", "inbox", "--gpu-type", "A100 80GB", "--json", code=2).error["hint"]
    told = shlex.split(hint.partition(": ")[2])
    assert told[:3] == ["lftreg", "cost", "--data"] and told[-2:] == ["--gpu-type", "A100 80GB"]
    words = told[1:]
    if "--base" in words:
        words[words.index("--base") + 1] = "starter"  # no base of that name can be read here
    assert lftreg(*words, "--json").document["device"] == "A100 80GB"


def test_a_run_whose_machine_nobody_wrote_down_is_told_in_time(lftreg: Lftreg, publish: Publish) -> None:
    publish("support", run=RUN)
    document = lftreg("cost", "support", "--json").document
    train = document["train"]
    assert (document["price_per_hour"], train["money"], train["memory"]) == (None, None, None)
    assert document["full_fine_tune"]["fits"] is None
    assert (document["per_query"]["rag"]["seconds"], document["break_even_queries"]) == (None, None)
    assert "--gpu-type NAME tells which" in document["why"]
    assert document["traffic"]["lengths_by"] == "assumed"
    page = lftreg("cost", "support")
    assert "no price is known" in page.err
    assert "pays off" not in page.out
    priced = lftreg("cost", "support", "--gpu-type", "L4", "--price-per-hour", "0.36", "--json").document
    assert priced["train"]["money"] == pytest.approx(58.5 * 0.0001)
    assert priced["break_even_queries"] > 0


def test_before_and_after_ask_and_answer_alike(lftreg: Lftreg, publish: Publish) -> None:
    before = lftreg("cost", "customer_support", "--before", "--gpu-type", "L4", "--json").document["traffic"]
    facts = {"asks": before["prompt"], "answers": before["answer"], "device_name": "NVIDIA L4"}
    publish("support", run=RUN, attachments={LOSSES: Losses((), (), facts=facts).to_bytes()})
    after = lftreg("cost", "support", "--json").document
    assert after["device"] == "L4"
    assert after["traffic"] == before
    assert before["lengths_by"] == "means of the train rows"


def test_several_are_a_table(lftreg: Lftreg, paid: Version, publish: Publish) -> None:
    publish("support", seed=9, run=RUN)
    rows = lftreg("cost", "support@1", "support@2", "--json").document
    assert [row["ref"] for row in rows] == ["support@1", "support@2"]
    lines = lftreg("cost", "support@1", "support@2").out.splitlines()
    assert lines[0].split()[:3] == ["ADAPTER", "BASE", "MACHINE"]
    assert [line.split()[0] for line in lines[1:]] == ["support@1", "support@2"]


def test_what_was_not_trained_here_has_no_training(lftreg: Lftreg, desk: Version) -> None:
    document = lftreg("cost", "advisor_desk", "--gpu-type", "L4", "--json").document
    assert (document["train"], document["full_fine_tune"], document["break_even_queries"]) == (
        None,
        None,
        None,
    )
    assert document["per_query"]["rag"]["seconds"] > 0
    assert "composed" in document["why"]


def test_costs_of_a_run_load_no_model_library(environment: dict[str, str], paid: Version) -> None:
    modules = imported_by(environment, "cost", "support")
    assert not [name for name in HEAVY if name in modules]


def test_what_a_run_would_take_is_what_the_dry_run_says(lftreg: Lftreg) -> None:
    words = ("--gpu-type", "H100", "--json")
    document = lftreg("cost", "customer_support", "--epochs", "1", *words).document
    plan: dict[str, Any] = lftreg("train", "customer_support", "--dry-run", "--epochs", "1", *words).document
    foretold = plan["forecast"]
    train = document["train"]
    assert (document["domain"], document["ref"], train["measured"]) == ("customer_support", None, False)
    assert train["seconds"] == pytest.approx(foretold["seconds"], abs=0.06)
    assert train["money"] == pytest.approx(foretold["usd"], abs=6e-5)
    assert train["memory"] == foretold["memory"]["peak"]
    assert train["tokens"] == plan["tokens_an_epoch"]
    activations = foretold["memory"]["activations"] + foretold["memory"]["workspace"]
    assert document["full_fine_tune"]["memory"] == 16 * train["base_parameters"] + activations
    assert document["traffic"]["answer"] > 1


def test_own_data_is_costed_before_it_is_trained_on(lftreg: Lftreg, tmp_path: Path) -> None:
    rows = [f'{{"prompt": "question {i}?", "response": "answer {i} of many"}}\n' for i in range(60)]
    (tmp_path / "inbox.jsonl").write_text("".join(rows))
    document = lftreg("cost", "--data", "inbox.jsonl", "--gpu-type", "H100", "--json").document
    assert (document["domain"], document["train"]["measured"]) == ("inbox", False)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ((), 2, "the cost of what?"),
        (("support", "--data", "x.jsonl"), 2, "both words and --data"),
        (("support", "--rank", "8"), 2, "--rank is for a run to come, and support@1 was made already"),
        (("suport",), 3, "Did you mean 'support'?"),
        (("support@9",), 3, "support"),
        (("nowhere", "--before"), 3, "nowhere"),
        (("support", "--price-per-hour", "-1"), 2, "--price-per-hour -1.0 makes no sense"),
        (("support", "--price-per-hour", "nan"), 2, "makes no sense"),
        (("support", "--gpu-type", "abacus"), 3, "abacus"),
        (("support", "--top-k", "0"), 2, "'0' is no whole number from 1"),
    ],
)
def test_mistakes_are_told(
    lftreg: Lftreg, paid: Version, words: tuple[str, ...], code: int, said: str
) -> None:
    assert said in lftreg("cost", *words, "--json", code=code).error["message"]
