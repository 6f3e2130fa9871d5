"""Own data through the real command: what is found, what is shown, what is refused before torch is loaded."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import Lftreg
from tests.data.conftest import lines, pairs

pytestmark = pytest.mark.slow

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


def test_check_counts_tokens_by_a_base_and_shows_rows_as_it_sees_them(lftreg: Lftreg, tmp_path: Path) -> None:
    long = {"prompt": "Tell me all.", "response": "word " * 200}
    path = lines(tmp_path / "inbox.jsonl", [*pairs(60), long, {"prompt": "Yes?", "response": "No"}])
    document = lftreg("data", "check", str(path), "--max-length", "64", "--json").document
    tokens = document["tokens"]
    assert (tokens["rows"], tokens["of"], tokens["limit"], tokens["too_long"]) == (62, 62, 64, 1)
    assert tokens["one_token_answers"] == 1
    assert tokens["min"] <= tokens["median"] <= tokens["p95"] < tokens["max"]
    assert tokens["max"] > 200
    assert sum(bar["rows"] for bar in tokens["histogram"]) == 62
    assert document["base"] == "starter"
    assert len(document["shown"]) == 3
    for shown in document["shown"]:
        whole = "".join(piece["text"] for piece in shown["pieces"])
        assert whole.startswith("<|bos|><|user|>")
        learned = "".join(piece["text"] for piece in shown["pieces"] if piece["learned"])
        assert learned.endswith("<|end|>")
        assert "Question" not in learned
    shown = lftreg("data", "check", str(path), "--max-length", "64")
    assert shown.out.count("'prompt', 'response'") == 1
    assert "'prompt', 'response'" not in shown.err
    assert "1 rows have more than 64 tokens" in shown.out
    assert "⟦Answer 0.<|end|>⟧" in shown.out
    assert "\x1b" not in shown.out


def test_check_names_a_row_that_the_template_refuses(lftreg: Lftreg, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Where?"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "track", "arguments": "{}"}}]},
        {"role": "tool", "content": "van"},
        {"role": "assistant", "content": "On the van."},
    ]
    rows = [{"messages": [{"role": "user", "content": f"Where is {n}?"}, turns[-1]]} for n in range(20)]
    path = lines(tmp_path / "own.jsonl", [*rows, {"messages": turns}])
    for words in (
        ("data", "check", str(path), "--base", "starter"),
        ("train", "--data", str(path), "--dry-run"),
    ):
        error = lftreg(*words, "--json", code=2).error
        assert error["message"].startswith("own.jsonl, row 21: the base's chat template")
        assert "knows tools" in error["hint"]
    told = lftreg("data", "check", str(path))  # nobody asked for this base
    assert "tokens are not counted" in told.err
    assert "20 " in told.out or "21" in told.out


def test_check_tells_of_overlaps(lftreg: Lftreg, tmp_path: Path) -> None:
    same = "we lend books for four weeks and films for one and both can be renewed twice"
    rows = [{"prompt": f"Question {n}?", "response": same if n < 20 else f"Answer {n}."} for n in range(60)]
    document = lftreg("data", "check", str(lines(tmp_path / "own.jsonl", rows)), "--json").document
    overlap = document["overlap"]
    assert 0 < overlap["rows"] < overlap["of"]
    assert overlap["worst"]["train"]["row"].startswith("own.jsonl, row ")
    assert same in overlap["worst"]["held_out"]["text"]


def test_weights_and_folders_are_told(lftreg: Lftreg, tmp_path: Path) -> None:
    folder = tmp_path / "letters"
    folder.mkdir()
    for n in range(20):
        (folder / f"{n}.txt").write_text(f"Letter number {n}.")
    (folder / "none.txt").write_text("")
    shown = lftreg("data", "check", f"{folder}:2")
    assert "letters/: 20 rows, weight 2" in shown.out
    assert "1 empty" in shown.out
    document = lftreg("data", "check", f"{folder}:2", "--json").document
    assert document["rows_a_pass"] == 2 * document["examples"]["train"]
    assert document["files"][0]["weight"] == 2
    assert len(document["files"][0]["sha256"]) == 64
    told = lftreg("train", "--data", f"{folder}:0.5", "--dry-run")
    assert "letters/: 20 rows, 'text', weight 0.5; 1 empty left out" in told.err
    error = lftreg("data", "check", f"{folder}:0", "--json", code=2).error
    assert error["code"] == "invalid-weight"


@pytest.mark.parametrize("word", ["./inbox.jsonl", "inbox.jsonl", "letters", "hub:org/name"])
def test_data_in_the_place_of_a_domain_is_hinted_at(lftreg: Lftreg, tmp_path: Path, word: str) -> None:
    (tmp_path / "letters").mkdir()
    lines(tmp_path / "inbox.jsonl", pairs(12))
    error = lftreg("train", word, "--json", code=3).error
    assert error["code"] == "unknown-domain"
    assert f"lftreg train --data {word}" in error["hint"]


def test_a_large_file_is_measured_by_a_sample(lftreg: Lftreg, tmp_path: Path) -> None:
    path = lines(tmp_path / "own.jsonl", pairs(3_000))
    tokens = lftreg("data", "check", str(path), "--json").document["tokens"]
    assert (tokens["rows"], tokens["of"]) == (1_000, 3_000)
    assert "of 1,000 rows out of 3,000" in lftreg("data", "check", str(path)).out


@pytest.mark.parametrize("kind", ["bert", "t5", "gpt2"])
def test_every_kind_of_base_can_be_asked(lftreg: Lftreg, tiny: object, tmp_path: Path, kind: str) -> None:
    rows = [{"text": f"your {word} number {n}", "label": label} for n in range(20)
            for word, label in (("watch", "spam"), ("parcel", "post"))]  # fmt: skip
    base = str(tiny(kind))  # type: ignore[operator]
    path = lines(tmp_path / "letters.jsonl", rows)
    document = lftreg("data", "check", str(path), "--base", base, "--json").document
    for shown in document["shown"]:
        learned = "".join(piece["text"] for piece in shown["pieces"] if piece["learned"])
        assert "spam" in learned or "post" in learned
        assert "your" not in learned
    if kind == "bert":
        texts = lines(tmp_path / "texts.jsonl", [{"text": row["text"]} for row in rows])
        assert len(lftreg("data", "check", str(texts), "--base", base, "--json").document["shown"]) == 3
