"""Several adapters in one command: by name, and by a plan file."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pexpect
import pytest

from lftreg.cli.plan_file import read_plan_file
from lftreg.errors import LftregError

from .conftest import Lftreg
from .warm import Terminal, warm

PLAN = """
max_steps = 8
batch-size = 4
rank = 4

[adapters.apples]
data = "apples.jsonl"

[adapters.boats]
data = ["boats.jsonl:2"]
map = {prompt = "ask", response = "say"}
rank = 2
lr = 1
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Data beside a plan, in a folder that is not where the command runs."""
    place = tmp_path / "plans"
    place.mkdir()
    for name, columns in (("apples", ("prompt", "response")), ("boats", ("ask", "say"))):
        rows = [dict(zip(columns, (f"What is {name} {n}?", f"It is {n}."), strict=True)) for n in range(24)]
        (place / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (place / "plan.toml").write_text(PLAN.replace("lr = 1\n", "lr = 0.01\n"))
    return place


@pytest.mark.slow
def test_a_plan_trains_its_adapters_together(lftreg: Lftreg, folder: Path, tiny_llama: Path) -> None:
    done = lftreg("train", "--plan", str(folder / "plan.toml"), "--base", str(tiny_llama), "--json")
    assert [one["name"] for one in done.document] == ["apples", "boats"]
    shown = {name: lftreg("show", name, "--json").document for name in ("apples", "boats")}
    assert [shown[name]["rank"] for name in shown] == [4, 2]
    assert [shown[name]["run"]["settings"]["lr"] for name in shown] == [3e-3, 1e-2]
    again = lftreg(
        "train", "--plan", str(folder / "plan.toml"), "--base", str(tiny_llama), "--rank", "3", "-q"
    )
    assert again.out.split() == ["apples@2", "boats@2"]
    assert lftreg("show", "boats", "--json").document["rank"] == 3


@pytest.mark.slow
def test_one_that_fails_takes_no_other_with_it(lftreg: Lftreg, folder: Path, tiny_llama: Path) -> None:
    plan = folder / "plan.toml"
    plan.write_text(PLAN.replace("lr = 1\n", "lr = 0.9\nalpha = 1e30\nclip = 1e30\n"))
    done = lftreg("train", "--plan", str(plan), "--base", str(tiny_llama), code=1)
    assert "apples@1" in done.out
    assert re.search(r"^boats: not-finite: step \d+: ", done.err, re.MULTILINE)
    assert "error: 1 of 2 adapters were not trained: boats" in done.err
    assert [one["name"] for one in lftreg("list", "--json").document] == ["apples"]
    told = json.loads(lftreg("train", "--plan", str(plan), "--base", str(tiny_llama), "--json", code=1).err)
    assert told["error"]["code"] == "not-finite" and "boats: step" in told["warnings"][0]


@pytest.mark.slow
def test_a_terminal_shows_a_line_for_each(
    environment: dict[str, str], tmp_path: Path, folder: Path, tiny_llama: Path
) -> None:
    words = ("train", "--plan", str(folder / "plan.toml"), "--base", str(tiny_llama))
    process = Terminal(words, environment, tmp_path)
    process.expect("2 adapters, 2 under way")
    process.expect(pexpect.EOF)
    told = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", str(process.before))
    assert process.ended() == 0, told
    assert re.search(r"apples  [━─]{20}  \d/8 ", told) and re.search(r"boats   [━─]{20}  \d/8 ", told)
    assert re.search(r"8/8  registered as (apples|boats)@1", told)


@pytest.mark.slow
def test_domains_train_together_too(environment: dict[str, str], tmp_path: Path) -> None:
    lftreg = warm(environment, tmp_path)
    done = lftreg("train", "customer_support", "customer_support", "--max-steps", "1", code=2)
    assert "customer_support is to be trained twice" in done.err
    dry = lftreg("train", "customer_support", "code_generation", "--dry-run", "--json")
    assert [one["name"] for one in dry.document] == ["customer_support", "code_generation"]
    for more in (("--name", "x"), ("customer_support",), ("--data", "x.jsonl"), ("--resume",)):
        assert "--plan with a domain" in lftreg("train", "--plan", "p.toml", *more, code=2).err
    assert "no file nowhere.toml" in lftreg("train", "--plan", "nowhere.toml", code=3).err


WRONG: dict[str, tuple[str, str]] = {
    "no TOML": ("adapters = [", "cannot be read"),
    "no text": ("\udcff", "cannot be read"),
    "nothing": ("", "names no adapter"),
    "a list": ("adapters = [1]", "names no adapter"),
    "an adapter that is no table": ("[adapters]\na = 1", "has 'a' where a table"),
    "neither": ("[adapters.a]\nrank = 4", "has neither a domain nor data in [adapters.a]"),
    "both": ('[adapters.a]\ndomain = "x"\ndata = "y"', "has both a domain and data"),
    "a setting that is none": ('[adapters.a]\ndomain = "x"\nrnak = 4', "has 'rnak' in [adapters.a], which"),
    "a word for a number": ('rank = "four"\n[adapters.a]\ndomain = "x"', "has rank = 'four' at its top"),
    "true for a number": ('[adapters.a]\ndomain = "x"\nlr = true', "has lr = True in [adapters.a]"),
    "a number beyond all": (f"lr = {10**400}\n[adapters.a]\ndomain = 'x'", "has lr = 1000"),
    "a deep one": ("a = " + "[" * 5000, "cannot be read"),
    "a half rank": ('[adapters.a]\ndomain = "x"\nrank = 4.5', "has rank = 4.5"),
    "a domain of numbers": ("[adapters.a]\ndomain = 4", "that is no text"),
    "data of numbers": ("[adapters.a]\ndata = [4]", "neither a text nor a list"),
    "a map of a domain": ('[adapters.a]\ndomain = "x"\nmap = {prompt = "y"}', "has a map and a domain"),
    "a map of numbers": ('[adapters.a]\ndata = "x"\nmap = {prompt = 4}', "that is no table of texts"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_a_plan_that_makes_no_sense_is_told_as_such(what: str, tmp_path: Path) -> None:
    text, sentence = WRONG[what]
    path = tmp_path / "plan.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(LftregError) as error:
        read_plan_file(path)
    assert sentence in error.value.message and error.value.hint and error.value.code == "invalid-plan"


def test_what_a_plan_says(tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(
        'lr = 1\n[adapters.a]\nbase = "./b"\ndata = ["x.jsonl:2", "hub:o/n", "/y"]\ngradient-checkpointing = true\n'
    )
    (one,) = read_plan_file(path)
    assert one.data == (f"{tmp_path}/x.jsonl:2", "hub:o/n", "/y")
    asked: dict[str, Any] = {"base": f"{tmp_path / 'b'}", "lr": 1.0, "gradient_checkpointing": True}
    assert dict(one.asked) == asked and type(one.asked["lr"]) is float
