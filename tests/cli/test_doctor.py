"""`lftreg doctor` on runs: by name, by run, by version, by file; and that its command mends."""

from __future__ import annotations

import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from lftreg.registry import Registry
from lftreg.training import Runs
from lftreg.training.memory import OutOfMemory
from lftreg.training.runs import Request, outcome_of
from tests.faults.seen import command


def doctor(*words: str) -> tuple[int, dict[str, Any], dict[str, Any]]:
    code, out, err = command("doctor", *words)
    return code, json.loads(out) if out else {}, json.loads(err)["error"] if err else {}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "parcels.jsonl"
    rows = [{"prompt": f"Where is parcel {n}?", "response": f"It is on van {n % 5}."} for n in range(80)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.slow
def test_the_command_that_is_told_mends(data: Path, tiny_llama: Path, home: Path) -> None:
    base = str(tiny_llama)
    words = ("train", "--data", str(data), "--base", base, "--rank", "4", "--max-steps", "30", "--lr", "1e-9")
    command(*words)
    code, document, error = doctor("parcels")
    assert code == 6
    assert not document["healthy"]
    first = document["diagnoses"][0]
    assert first["name"] == "lr-too-low"
    assert (error["code"], error["hint"]) == ("check-failed", first["mend"])
    began = [*words[:-1], "--name", "parcels"]
    assert sorted(shlex.split(first["mend"])) == sorted(["lftreg", *began, "0.003"])
    assert command(*shlex.split(first["mend"])[1:])[0] == 0
    code, document, error = doctor("parcels")
    assert (code, error) == (0, {})
    assert document["healthy"]
    assert document["ref"] == "parcels@2"
    assert document["signals"]["norm_median"] > 0
    for same in ("parcels@2", document["run"], "--last"):
        assert doctor(same)[1]["signals"] == document["signals"]


def request_for(**changes: Any) -> Request:
    settings = {"batch_size": 8, "accumulate": 2, "gradient_checkpointing": False, "rank": 16, "alpha": 32.0}
    return Request(
        name="big", base="starter", fingerprint="ab", data_digest="cd", settings=settings | changes, libraries={},
        threads=1, source={"domain": "customer_support"},
        facts={"asked": changes, "p95": 300, "longest": 900, "limit": 2048},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "mend"),
    [
        ({}, "--gradient-checkpointing"),
        ({"gradient_checkpointing": True}, "--batch-size 1 --accumulate 16"),
        ({"gradient_checkpointing": True, "batch_size": 1, "accumulate": 16}, "--max-length 300"),
    ],
)
def test_out_of_memory_is_mended_by_what_costs_least(
    registry: Registry, changes: dict[str, Any], mend: str
) -> None:
    run = Runs(registry.home).begin(request_for(**changes))
    outcome = outcome_of(OutOfMemory("a single row of 900 tokens does not fit into memory"))
    assert outcome is not None
    run.close({"error": outcome["error"]})
    code, document, _ = doctor(run.id)
    assert code == 6
    (first, *_) = document["diagnoses"]
    assert first["name"] == "out-of-memory"
    assert first["mend"].startswith("lftreg train customer_support --name big")
    assert first["mend"].endswith(mend)


def test_a_run_that_left_no_step_is_told_as_interrupted(registry: Registry) -> None:
    run = Runs(registry.home).begin(request_for())
    code, document, _ = doctor("big")
    assert code == 6
    assert [one["name"] for one in document["diagnoses"]] == ["interrupted"]
    assert document["diagnoses"][0]["mend"] == f"lftreg train {run.id} --resume"


def test_what_cannot_be_judged_is_told(registry: Registry) -> None:
    assert doctor("--last")[2]["code"] == "no-runs"
    assert doctor("nobody")[2]["code"] == "unknown-adapter"
    assert doctor("nobody", "--last")[0] == 2
