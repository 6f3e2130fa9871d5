"""docs/plugins.md is held to the code: its example is installed and used, its table is the hooks'."""

from __future__ import annotations

import dataclasses
import inspect
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from lftreg import testing
from lftreg.models.targets import list_modules, resolve_targets
from lftreg.plugins import new, spec
from lftreg.plugins.check import check_domain, check_import
from lftreg.plugins.host import Host
from lftreg.plugins.offers import KINDS
from lftreg.plugins.types import Input, Measured, Metric, Outputs

from .conftest import Install
from .test_process import KINDS as BROKEN

PAGE = (Path(__file__).parents[2] / "docs" / "plugins.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def table(title: str) -> list[list[str]]:
    """The rows of the table whose first column has this title."""
    (rows,) = re.findall(rf"^\| {re.escape(title)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows.splitlines()]


@pytest.fixture
def host(install: Install) -> Host:
    """A host where the page's example is installed as its pyproject.toml says."""
    (toml,) = blocks("toml")
    project = tomllib.loads(toml)["project"]
    (points,) = project["entry-points"].items()
    group, entries = points
    lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
    install(project["name"], blocks("python")[0], project["version"], f"[{group}]\n{lines}")
    return Host(off=())


def test_the_example_is_short() -> None:
    assert len(blocks("python")[0].splitlines()) <= 40


def test_the_example_keeps_all_rules(host: Host) -> None:
    tavern = host.domains()["tavern"]
    assert (tavern.plugin, tavern.distribution) == ("tavern", "lftreg-tavern 0.1")
    assert check_domain(tavern.value) == []
    assert len(list(tavern.value.build("train", 0))) == 6
    assert not any("imports" in problem for problem in check_import("lftreg_tavern", runs=1))
    assert {"tavern", "opt", "halves"} <= {*host.domains(), *host.targets(), *host.methods()}
    assert host.faults == ()


@pytest.mark.slow
def test_the_examples_targets_fit_the_family(host: Host) -> None:
    config = {"num_hidden_layers": 2, "hidden_size": 32, "ffn_dim": 64, "num_attention_heads": 4}
    modules = list_modules({"model_type": "opt"} | config)
    assert resolve_targets(modules, "opt", "attention", host) == ("q_proj", "v_proj")


def test_the_examples_method_merges(host: Host, tiny_llama: Path) -> None:
    """The merged adapter is share times each parent, as the page says of it."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    config = LoraConfig(r=2, lora_alpha=2, target_modules=["q_proj"], init_lora_weights=False)
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(tiny_llama), config, adapter_name="one")
    model.add_adapter("two", config)
    host.method("halves").merge(model, ["one", "two"], [0.9, 0.1], "both", share=0.25)
    layer = model.base_model.model.model.layers[1].self_attn.q_proj
    expected = 0.25 * (layer.get_delta_weight("one") + layer.get_delta_weight("two"))
    torch.testing.assert_close(layer.get_delta_weight("both"), expected)


def test_the_examples_tests_pass(host: Host) -> None:
    """The page's second block, which `tests/journeys/test_plugin_kit.py` runs under pytest."""
    example, tests, _ = blocks("python")
    assert "@hookimpl" in example
    assert host.faults == ()
    names: dict[str, Callable[[], None]] = {}
    exec(compile(tests, "docs/plugins.md", "exec"), names)
    asserted = [name for name in names if name.startswith("test_")]
    assert len(asserted) == 2
    for name in asserted:
        names[name]()


def test_the_example_of_a_metric_keeps_the_rules(install: Install) -> None:
    install("lftreg-polite", blocks("python")[2])
    testing.check_plugin("polite")
    politeness = Host(off=()).metric("politeness")
    said = Outputs(("a?", "b?"), ("", ""), ("Yes, please.", "No."), ("", ""))
    assert politeness.measure(said).values == (1.0, 0.0)


def test_the_page_tells_of_all_that_a_metric_sees_and_gives() -> None:
    hooks, _ = PAGE.split("\n## The rules\n")
    bullets = dict(re.findall(r"^- \*\*(\w+)\.\*\* (.*?)(?=\n- |\n\n)", hooks, re.MULTILINE | re.DOTALL))
    for kind in (Metric, Outputs, Measured):
        told = set(re.findall(r"`(\w+)[(`=]", bullets[kind.__name__]))
        described = {
            "name",
            "summary",
            "allow_code_execution",
        }  # in the table, or of no use to a metric of texts
        assert {field.name for field in dataclasses.fields(kind)} - described <= told, kind
    assert set(get_args(Input)) <= set(re.findall(r"`(\w+)`", bullets["Metric"]))


def test_the_page_tells_of_what_plugins_new_writes(tmp_path: Path) -> None:
    written = new.write_plugin("tavern", tmp_path / "lftreg-tavern")
    told = {file for row in table("file in `lftreg-tavern/`") for file in re.findall("`(.*?)`", row[0])}
    assert told == set(written)
    (toml,) = blocks("toml")
    project = tomllib.loads((tmp_path / "lftreg-tavern" / "pyproject.toml").read_text())["project"]
    assert tomllib.loads(toml)["project"].items() <= project.items()


def test_the_table_of_assertions_is_what_there_is() -> None:
    told = dict(re.fullmatch(r"`(\w+)(\(.*\))`", row[0]).groups() for row in table("assertion"))  # type: ignore[union-attr]
    assert set(told) == set(testing.__all__) - {"find_problems"}
    for name in ("check_domain", "check_targets"):
        parameters = inspect.signature(getattr(testing, name)).parameters.values()
        assert told[name] == f"({', '.join(str(p.replace(annotation=p.empty)) for p in parameters)})"


def test_the_table_of_broken_plugins_is_what_is_tested() -> None:
    told = {kind: said.strip("`") for kind, said in table("what is wrong")}
    assert told == {kind: message for kind, (_, message) in BROKEN.items()}


def test_the_table_is_the_hooks() -> None:
    rows = re.findall(r"^\| `(lftreg_\w+)` \| `(\w+)` \| (.*?) \|", PAGE, re.MULTILINE)
    documented = {hook: (kind, tuple(re.findall(r"`(\w+)`", names))) for hook, kind, names in rows}
    assert documented == {
        kind.hook: (kind.type.__name__, tuple(field.name for field in dataclasses.fields(kind.type)))
        for kind in KINDS
    }
    assert set(documented) == {name for name in vars(spec) if name.startswith("lftreg_")}
