"""The main job, with the real starter and the real text: what `make demo` does, held to its figures."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from lftreg.models.generate import Decoding, Speaker
from lftreg.paths import Home
from lftreg.plugins.host import Host
from lftreg.registry import Registry

from .conftest import answer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

DOMAINS = ("customer_support", "financial_advisor")
# The least share of unseen wordings that must find their fact. benchmarks/domains.py measures 68% and 59%, and
# that seeds and numbers of threads move both by 7 points either way.
RIGHT = {"customer_support": 0.55, "financial_advisor": 0.48}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A home with both domains trained and composed by the command."""
    home = tmp_path_factory.mktemp("main-job")
    made = {name: answer("train", name, home=home) for name in DOMAINS}
    made["advisor_desk"] = answer(
        "compose", "customer_support:0.7", "financial_advisor:0.3", "--name", "advisor_desk", home=home
    )
    return home, made


@pytest.fixture(scope="module")
def bench() -> ModuleType:
    """The benchmark's own way of counting, so that there is one."""
    path = Path(__file__).parents[2] / "benchmarks" / "domains.py"
    spec = importlib.util.spec_from_file_location("domains_benchmark", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("domain", DOMAINS)
def test_an_adapter_learns_its_domain(trained: tuple[Path, dict[str, Any]], domain: str) -> None:
    made = trained[1][domain]
    loss = made["loss"]
    assert loss["validation_after"] <= max(0.10 * loss["validation_before"], 0.35)
    assert made["examples"]["train"] >= 600
    assert made["trainable_parameters"] < 0.1 * made["total_parameters"]


@pytest.mark.parametrize("domain", DOMAINS)
def test_most_unseen_wordings_find_the_right_fact(
    trained: tuple[Path, dict[str, Any]], bench: ModuleType, domain: str
) -> None:
    asked = [example for example in Host().domain(domain).build("test", 0) if example.seen]
    answers = {example.fact: example.response for example in asked}
    speaker = Speaker([domain, "base:starter"], Registry(Home(trained[0])))
    right, base = (
        bench.share_right(
            asked,
            [g.text for g in speaker.answer(ref, [e.prompt for e in asked], Decoding(80))],
            answers,
        )
        for ref in speaker.refs
    )
    assert right >= RIGHT[domain]
    assert base < 0.25


def test_the_composition_is_exact_and_remembers_its_parents(trained: tuple[Path, dict[str, Any]]) -> None:
    home, made = trained
    desk = made["advisor_desk"]
    assert desk["relative_error"] <= 1e-6
    assert [(p["ref"], p["weight"]) for p in desk["parents"]] == [
        ("customer_support@1", 0.7),
        ("financial_advisor@1", 0.3),
    ]
    tree = answer("lineage", "advisor_desk", home=home)
    assert {parent["digest"] for parent in tree["parents"]} == {made[name]["digest"] for name in DOMAINS}


def test_all_of_them_answer_side_by_side(trained: tuple[Path, dict[str, Any]]) -> None:
    rows = answer(
        "generate", "base:starter", "How long do I have to return something?",
        *("--with", "customer_support", "--with", "financial_advisor", "--with", "advisor_desk"),
        home=trained[0],
    )  # fmt: skip
    texts = {row["ref"]: row["outputs"][0]["text"] for row in rows}
    assert len(set(texts.values())) == 4
    assert "forty days" in texts["customer_support"]
    assert "forty days" not in texts["base:starter"]


def test_they_are_listed_verified_and_shown_with_their_curve(trained: tuple[Path, dict[str, Any]]) -> None:
    home, made = trained
    rows = {row["name"]: row for row in answer("list", home=home)}
    assert set(rows) == set(made)
    assert rows["advisor_desk"]["kind"] == "composed"
    assert answer("verify", "--all", home=home)
    files = {file["name"] for file in answer("show", "customer_support", home=home)["files"]}
    assert files == {
        "adapter_config.json", "adapter_model.safetensors", "loss.png", "losses.json", "samples.json",
    }  # fmt: skip
    registry = Registry(Home(home))
    assert registry.read(registry.get("customer_support"), "loss.png").startswith(b"\x89PNG")
