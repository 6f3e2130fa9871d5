"""Own data through the real command: what is found, what is shown, what is refused before torch is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Lftreg
from tests.data.conftest import lines, pairs

TORCHLESS = "import sys; sys.modules['torch'] = None; from lftreg.cli.main import main; sys.exit(main())"


@pytest.fixture
def tickets(tmp_path: Path) -> Path:
    rows = "".join(f'"Ticket {n}, urgent","Answer {n}"\n' for n in range(40))
    (tmp_path / "tickets.csv").write_text(f"Subject,Reply\n{rows}")
    return tmp_path / "tickets.csv"


def test_check_tells_columns_rows_and_splits(lftreg: Lftreg, tmp_path: Path) -> None:
    path = lines(tmp_path / "inbox.jsonl", [*pairs(60), pairs(1)[0]])
    document = lftreg("data", "check", str(path), "--json").document
    assert document["name"] == "inbox"
    assert document["files"][0]["rows"] == 61
    assert document["files"][0]["columns"] == {"prompt": "prompt", "response": "response"}
    assert sum(document["examples"].values()) == 61
    assert document["duplicates"] == 1
    assert document["labels"] is None
    shown = lftreg("data", "check", str(path))
    assert "'prompt', 'response'" in shown.out
    assert "by a hash of the prompt" in shown.out
    assert "1 row stands there twice" in shown.out


def test_columns_that_are_not_found_are_listed_and_can_be_told(lftreg: Lftreg, tickets: Path) -> None:
    error = lftreg("data", "check", str(tickets), "--json", code=2).error
    assert "row 1: columns 'Subject', 'Reply'; wanted prompt and response" in error["message"]
    assert "--map prompt=COLUMN" in error["hint"]
    told = ("--map", "prompt=Subject", "--map", "response=Reply")
    done = lftreg("data", "check", str(tickets), *told)
    assert "prompt from 'Subject', response from 'Reply'" in done.out
    error = lftreg("train", "--data", str(tickets), "--map", "prompt=Subjct", "--json", code=2).error
    assert "Did you mean 'Subject'?" in error["message"]


@pytest.mark.parametrize(
    "words", [("--map", "prompt"), ("--map", "=x"), ("--map", "prompt=a", "--map", "prompt=b")]
)
def test_a_map_of_another_form_is_refused(lftreg: Lftreg, tickets: Path, words: tuple[str, ...]) -> None:
    assert lftreg("data", "check", str(tickets), *words, "--json", code=2).error["code"] == "invalid-map"


def test_a_domain_takes_no_map(lftreg: Lftreg) -> None:
    done = lftreg("train", "customer_support", "--map", "prompt=x", code=2)
    assert "--map tells the columns of --data" in done.err


def test_ten_thousand_rows_are_checked_without_torch(environment: dict[str, str], tmp_path: Path) -> None:
    """A bad last row is found, named, and nothing was made of the rest."""
    import subprocess

    path = lines(tmp_path / "own.jsonl", [*pairs(9_999), {"prompt": "Q"}])
    for words in (("train", "--data", str(path)), ("data", "check", str(path))):
        done = subprocess.run(
            [sys.executable, "-c", TORCHLESS, *words, "--json"],
            env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 2
        assert json.loads(done.stderr)["error"]["message"] == "own.jsonl, row 10000: 'response' is missing"
    assert not (tmp_path / "home").exists()


def test_files_are_trained_on_as_they_were_checked(lftreg: Lftreg, tickets: Path, tiny_llama: Path) -> None:
    words = ("--data", str(tickets), "--map", "prompt=Subject", "--map", "response=Reply")
    few = ("--base", str(tiny_llama), "--max-steps", "10", "--lr", "1e-2")
    made = lftreg("train", *words, *few, "--json").document
    assert made["name"] == "tickets"
    assert sum(made["examples"].values()) == 40
    again = lftreg("train", *words, *few)
    assert "tickets.csv: 40 rows, prompt from 'Subject', response from 'Reply'" in again.err
    assert "what tickets@1 held out stays held out" in again.err
    assert "split.json" in lftreg("show", "tickets").out


def test_an_encoder_learns_labels_from_a_file(lftreg: Lftreg, tiny: object, tmp_path: Path) -> None:
    rows = [{"text": f"your {word} number {n}", "label": label} for n in range(30)
            for word, label in (("watch", "spam"), ("parcel", "post"))]  # fmt: skip
    path = lines(tmp_path / "letters.jsonl", rows)
    base = tiny("bert")  # type: ignore[operator]
    made = lftreg(
        "train", "--data", str(path), "--base", str(base), "--lr", "3e-3", "--epochs", "20", "--json"
    )
    assert made.document["loss"]["validation_after"] < made.document["loss"]["validation_before"]
    assert made.document["loss"]["accuracy_after"] > made.document["loss"]["accuracy_before"]
    shown = lftreg("show", "letters").out
    assert "nats a row" in shown
    assert "classification" in shown
    output = lftreg("generate", "letters", "your watch number 3", "--json").document["outputs"][0]
    assert output["text"] in ("spam", "post")
    assert set(output["scores"]) == {"spam", "post"}
    assert lftreg("generate", "letters", "your watch number 3").out.strip() == output["text"]


def test_by_itself_it_shows_its_commands(lftreg: Lftreg) -> None:
    assert "Commands:" in lftreg("data").out
    assert lftreg("data", "--json", code=2).error["code"] == "usage"
