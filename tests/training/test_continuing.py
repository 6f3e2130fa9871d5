"""Going on from a version, with some of its rows again."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lftreg.cli.main import _run
from lftreg.errors import Incompatible, InvalidData, LftregError, UsageError
from lftreg.plugins.types import Domain, Example
from lftreg.registry import Registry, Version
from lftreg.training import Stepped, make_plan, run_plan, train
from lftreg.training.events import Event

pytestmark = pytest.mark.slow

TRAIN: dict[str, Any] = {"rank": 4, "lr": 1e-2, "batch_size": 4, "max_steps": 30, "patience": 9}


def rows(path: Path, what: str, count: int = 30) -> Path:
    told = [{"prompt": f"What is {what} {n}?", "response": f"It is {what} {n}."} for n in range(count)]
    path.write_text("\n".join(map(json.dumps, told)))
    return path


def lftreg(*words: str) -> int:
    return _run([*words, "--json"])


@pytest.fixture
def old(tmp_path: Path, tiny_llama: Path, registry: Registry, capsys: pytest.CaptureFixture[str]) -> Version:
    data = rows(tmp_path / "apples.jsonl", "apple")
    assert lftreg("train", "--data", str(data), "--base", str(tiny_llama), *options()) == 0
    capsys.readouterr()
    return registry.get("apples")


def options(**changed: Any) -> list[str]:
    asked = {"rank": 4, "lr": 1e-2, "batch_size": 4, "max_steps": 30} | changed
    return [word for key, value in asked.items() for word in (f"--{key.replace('_', '-')}", str(value))]


def test_a_version_goes_on_and_says_what_it_forgot(
    old: Version, tmp_path: Path, tiny_llama: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    new = rows(tmp_path / "boats.jsonl", "boat")
    told = {}
    for name, share in (("none", "0"), ("half", "0.5")):
        assert lftreg("train", "--data", str(new), "--base", str(tiny_llama), "--name", name,
                      "--continue-from", "apples", "--replay", share, *options()) == 0  # fmt: skip
        told[name] = json.loads(capsys.readouterr().out)
    for name in told:
        assert told[name]["forgotten"]["before"] == pytest.approx(
            old.run.losses["validation_after"], rel=1e-4
        )
        (parent,) = registry.lineage(name).parents
        assert (parent.ref, parent.digest) == ("apples@1", old.digest)
    assert told["half"]["examples"]["train"] > told["none"]["examples"]["train"]
    assert told["half"]["forgotten"]["after"] < told["none"]["forgotten"]["after"]
    assert told["none"]["forgotten"]["after"] > told["none"]["forgotten"]["before"]


def test_it_begins_with_the_very_factors_of_its_parent(
    old: Version, tmp_path: Path, tiny_llama: Path, registry: Registry
) -> None:
    """One step of a learning rate near zero leaves them where they are."""
    lessons = Domain("x", "x", lambda split, seed: [Example.pair(f"{split} {n}?", "Yes.") for n in range(8)])
    plan = make_plan(lessons, name="x", base=str(tiny_llama), registry=registry, continue_from="apples",
                     lr=1e-12, max_steps=1, batch_size=8)  # fmt: skip
    assert (plan.settings.rank, plan.settings.alpha) == (4, 8)
    heard: list[Event] = []
    with pytest.raises(LftregError, match="never fell below that of apples@1"):
        run_plan(plan, registry, heard.append)
    assert [event.step for event in heard if isinstance(event, Stepped)] == [1]


def test_a_run_that_goes_on_can_be_interrupted_and_go_on(
    old: Version, tmp_path: Path, tiny_llama: Path, registry: Registry, capsys: pytest.CaptureFixture[str]
) -> None:
    from lftreg.training import Runs
    from tests.training.test_resume import Pulled, pulls

    data = rows(tmp_path / "boats.jsonl", "boat")
    words = [
        "train",
        "--data",
        str(data),
        "--base",
        str(tiny_llama),
        "--continue-from",
        "apples",
        "--replay",
        "0.5",
    ]
    assert lftreg(*words, *options()) == 0
    whole = registry.get("boats").digest
    from lftreg.data import read_data

    plan = make_plan(
        read_data([str(data)]).domain, name="boats", base=str(tiny_llama), registry=registry, continue_from="apples",
        replay=0.5, source={"data": [str(data)], "map": []}, **{**TRAIN, "patience": None},
    )  # fmt: skip
    with pytest.raises(Pulled):
        run_plan(plan, registry, pulls(7), save_every=3)
    assert Runs(registry.home).to_resume("boats").step == 6
    capsys.readouterr()
    assert lftreg("train", "--resume") == 0
    assert registry.get("boats@2").digest == whole


def test_what_cannot_go_on_is_said(
    old: Version, tmp_path: Path, tiny_llama: Path, tiny_gpt2: Path, registry: Registry
) -> None:
    lessons = Domain("x", "x", lambda split, seed: [Example.pair(f"{split} {n}?", "Yes.") for n in range(8)])
    for asked, error, says in (
        ({"base": str(tiny_gpt2)}, Incompatible, "was made for base"),
        ({"rank": 8}, UsageError, "--rank 8, and apples@1 has 4"),
        ({"replay": 1.5}, UsageError, "--replay 1.5 makes no sense"),
    ):
        given: dict[str, Any] = {"base": str(tiny_llama), **asked}
        with pytest.raises(error, match=says):
            make_plan(lessons, name="x", registry=registry, continue_from="apples", **given)
    with pytest.raises(UsageError, match="--replay without --continue-from"):
        train(lessons, base=str(tiny_llama), registry=registry, replay=0.1)
    rows(tmp_path / "apples.jsonl", "pear")
    with pytest.raises(InvalidData, match="the data of apples@1 is not what it was"):
        make_plan(
            lessons, name="x", base=str(tiny_llama), registry=registry, continue_from="apples", replay=0.1
        )
    plan = make_plan(lessons, name="x", base=str(tiny_llama), registry=registry, continue_from="apples")
    assert plan.parent is not None
    assert plan.parent.missing
