"""Datasets of a hub on this machine, through the real command and the client as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Done, Lftreg
from tests.data.conftest import pairs
from tests.data.hub import COMMIT, Hub, serve

pytestmark = pytest.mark.slow


def rows(found: list[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in found).encode()


@pytest.fixture
def hub() -> Iterator[Hub]:
    half = pairs(60)
    datasets = {
        "town/library": {
            "README.md": b"# Questions",
            "dataset_infos.json": b"{}",
            "data/train-00000-of-00002.jsonl": rows(half[:20]),
            "data/train-00001-of-00002.jsonl": rows(half[20:40]),
            "data/test.jsonl": rows(half[40:]),
            ".gitattributes": b"*.jsonl",
        },
        "town/parted": {
            "train.csv": b"prompt,response\n" + b"".join(b"Q%d,A%d\n" % (n, n) for n in range(30)),
            "dev/all.csv": b"prompt,response\n" + b"".join(b"Q%d,A%d\n" % (n, n) for n in range(25, 40)),
        },
        "town/pictures": {"a.png": b"PNG", "README.md": b"# Pictures"},
        "town/secret": {"train.jsonl": rows(half)},
    }
    with serve(datasets, gated=frozenset({"town/secret"})) as hub:
        yield hub


Ask = Callable[..., Done]


@pytest.fixture
def ask(lftreg: Lftreg, hub: Hub, tmp_path: Path) -> Ask:
    def run(*words: str, offline: bool = False, **options: Any) -> Done:
        variables = {
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(tmp_path / "hf"),
            "HF_HUB_OFFLINE": "1" if offline else "0",
            "HF_HUB_DISABLE_TELEMETRY": "1",
        }
        return lftreg(*words, **options, **variables)

    return run


def test_a_dataset_is_fetched_and_works_without_the_hub(ask: Ask, hub: Hub) -> None:
    document = ask("data", "check", "hub:town/library", "--json").document
    assert document["name"] == "library"
    assert [file["rows"] for file in document["files"]] == [20, 20, 20]
    assert document["examples"]["test"] == 20
    assert document["examples"]["validation"] > 0
    assert document["examples"]["train"] + document["examples"]["validation"] == 40
    assert document["split_by"] == "the names of files and a hash of the prompt"
    assert document["files"][0]["name"].startswith(f"hub:town/library@{COMMIT[:12]}/data/")
    fetched = [line for line in hub.asked if line.startswith("GET") and "/resolve/" in line]
    assert not any("README" in line or "gitattributes" in line for line in fetched)
    before = len(hub.asked)
    assert ask("data", "check", "hub:town/library", "--json", offline=True).document == document
    assert len(hub.asked) == before


def test_a_dataset_is_trained_on(ask: Ask, tiny_llama: Path) -> None:
    few = ("--base", str(tiny_llama), "--max-steps", "10", "--lr", "1e-2")
    made = ask("train", "--data", "hub:town/library@v1:2", *few, "--json").document
    assert made["name"] == "library"
    assert made["examples"]["test"] == 20
    assert made["examples"]["train"] + 2 * made["examples"]["validation"] == 80


def test_names_of_files_and_folders_part_the_rows(ask: Ask) -> None:
    """What train shares with what is held out is left out, and counted."""
    done = ask("data", "check", "hub:town/parted", "--json").document
    assert done["examples"] == {"train": 25, "validation": 15, "test": 0}
    assert done["split_by"] == "the names of files"
    assert done["shared"] == 5
    assert "5 rows" in ask("data", "check", "hub:town/parted").out


@pytest.mark.parametrize(
    ("words", "code", "name"),
    [
        ("hub:town/nothing", 3, "unknown-dataset"),
        ("hub:town/library@v9", 3, "unknown-dataset"),
        ("hub:town/secret", 4, "token-needed"),
        ("hub:town/pictures", 2, "no-rows"),
        ("hub:town", 2, "invalid-reference"),
    ],
)
def test_what_cannot_be_had_is_told(ask: Ask, words: str, code: int, name: str) -> None:
    error = ask("data", "check", words, "--json", code=code).error
    assert error["code"] == name
    assert error["hint"]


def test_offline_and_not_cached_is_told(ask: Ask, lftreg: Lftreg, tmp_path: Path) -> None:
    error = ask("data", "check", "hub:town/library", "--json", code=5, offline=True).error
    assert error["code"] == "offline"
    gone = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    assert lftreg("data", "check", "hub:town/library", "--json", code=5, **gone).error["code"] == "offline"
