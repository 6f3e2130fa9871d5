"""`lftreg eval` in real processes, and where its figures are seen again: `show`, and the card of `export`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pexpect
import pytest
from rich.cells import cell_len

from lftreg.evaluation.suite import find_suite, some
from lftreg.plugins.host import Host
from lftreg.registry import Registry
from lftreg.registry.score_words import figure
from tests.cli import test_metrics
from tests.cli.conftest import Lftreg
from tests.cli.test_metrics import OWN, path
from tests.cli.warm import Terminal, warm
from tests.evaluation.parrots import BLUE, RED, rows, teach, write

pytestmark = pytest.mark.slow

own = test_metrics.own  # a fixture: a package with a metric
ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
BRIEF = ("--max-tokens", "12")
FEW = ("--metric", "exact_match", "--metric", "perplexity")
KEYS = {
    "ref", "base", "suite", "suite_digest", "decoding", "decoding_digest", "n", "against", "metrics", "left_out",
    "contaminated", "answers_trained_on", "unknown_data", "too_long", "trained_left_out", "against_same",
}  # fmt: skip
FIGURES = {
    "base", "adapter", "delta", "ci95", "p", "mde", "winner", "n", "better", "unit", "measurable", "note", "signature",
    "against", "clean", "clean_against",
}  # fmt: skip


@pytest.fixture
def lftreg(environment: dict[str, str], tmp_path: Path) -> Lftreg:
    return warm(environment, tmp_path)


@pytest.fixture
def desk(tmp_path: Path) -> str:
    """Sixty questions, of which red answers two in three as it should; under names of their own."""
    found = [{"q": f"Who is thing {n * 17 + 3}?", "a": RED if n % 3 else BLUE} for n in range(60)]
    return str(write(tmp_path / "desk.jsonl", found))


MAP = ("--map", "prompt=q", "--map", "response=a")


def test_own_data_is_asked_its_test_split_and_the_figures_are_seen_again(
    lftreg: Lftreg, registry: Registry, tmp_path: Path, tiny_llama: Path
) -> None:
    """From `train --data` to `eval`, `show` and `export`, without naming a suite."""
    write(tmp_path / "mine.jsonl", rows(RED))
    quick = ("--lr", "0.03", "--rank", "8", "--epochs", "60")
    lftreg("train", "--data", "mine.jsonl", "--base", str(tiny_llama), *quick)
    told = lftreg("eval", "mine", *BRIEF, "--json").document
    assert told.keys() == KEYS
    assert (told["ref"], told["base"], told["n"]) == ("mine", str(tiny_llama), 6)
    expected = find_suite(None, registry.get("mine"), registry, Host(external=False))
    assert told["suite_digest"] == expected.digest
    assert [item.prompt for item in expected.items] == [
        r["prompt"] for r in rows(RED) if r["split"] == "test"
    ]
    assert (told["contaminated"], told["answers_trained_on"], told["too_long"]) == ([], 6, 0)
    assert all(one.keys() == FIGURES for one in told["metrics"].values())
    hit = told["metrics"]["exact_match"]
    assert (hit["base"], hit["adapter"], hit["delta"], hit["winner"]) == (0, 1, 1, None)
    assert told["left_out"].keys() >= {"pass_at_1", "sample_consistency"}

    (shown,) = lftreg("show", "mine", "--json").document["scores"]
    assert (shown["suite_digest"], shown["n"], shown["decoding"]) == (
        told["suite_digest"], 6, told["decoding"],
    )  # fmt: skip
    for name, one in told["metrics"].items():
        assert shown["metrics"][name]["value"] == one["adapter"]
        assert {k: v for k, v in shown["metrics"][name].items() if k != "value"} == {
            k: v for k, v in one.items() if k != "adapter"
        }
    text = lftreg("show", "mine").out
    assert "evaluated on mine, " in text and "6 items, greedy, up to 12 tokens" in text
    assert table_row(text, "exact_match")[:3] == ["0.0%", "100.0%", "+100.0%"]
    lftreg("export", "mine", "--output", "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert "## Evaluation on mine" in card and told["suite_digest"][:12] in card
    for name in ("exact_match", "perplexity", "chrf"):
        one = told["metrics"][name]
        (row,) = [line for line in card.splitlines() if line.startswith(f"| {name} ")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert cells[1:3] == [figure(one[key], one["unit"]) for key in ("base", "adapter")]
        assert cells[3] == figure(one["delta"], one["unit"], signed=True)
        assert re.search(rf"type: {name}\s+value: {re.escape(str(round(one['adapter'], 6)))}", card)


def table_row(text: str, name: str) -> list[str]:
    """The cells of a metric in a table on a wide page, its name left out."""
    (line,) = [line for line in text.splitlines() if line.startswith(f"{name} ")]
    return re.split(r"\s{2,}", line.strip())[1:]


def test_several_adapters_are_a_list_and_one_is_an_object(
    lftreg: Lftreg, taught: Registry, desk: str
) -> None:
    words = ("--suite", desk, *MAP, *BRIEF, *FEW, "--limit", "9")
    several = lftreg("eval", "blue", "red", "crimson", *words, "--json").document
    assert [one["ref"] for one in several] == ["blue", "red", "crimson"]
    columns = {"prompt": "q", "response": "a"}
    asked = some(find_suite(desk, None, taught, Host(external=False), columns), 9)
    for one in several:
        assert (one["suite"], one["suite_digest"], one["n"]) == ("desk", asked.digest, 9)
        assert list(one["metrics"]) == ["exact_match", "perplexity"]
    hits = [one["metrics"]["exact_match"] for one in several]
    share = sum(item.reference == RED for item in asked.items) / 9
    assert [one["adapter"] for one in hits] == [pytest.approx(s) for s in (1 - share, share, share)]
    kept = taught.scores.find()
    assert {score.digest for score in kept} == {
        taught.get("red").digest, taught.get("blue").digest, taught.get("red").base.fingerprint,
    }  # fmt: skip
    for score in kept:
        items = taught.scores.items(score)
        assert [row["prompt"] for row in items] == [item.prompt for item in asked.items]
    single = lftreg("eval", "red", *words, "--json").document
    assert isinstance(single, dict)
    hit, beside = single["metrics"]["exact_match"], hits[1]
    assert {**hit, "p": 0} == {**beside, "p": 0}
    assert beside["p"] > hit["p"] or hit["p"] is None


def test_each_is_asked_its_own_where_no_suite_is_named(lftreg: Lftreg, taught: Registry) -> None:
    red, blue = lftreg("eval", "red", "blue", *BRIEF, *FEW, "--json").document
    assert (red["ref"], red["suite"], blue["ref"], blue["suite"]) == ("red", "red", "blue", "blue")
    assert red["suite_digest"] != blue["suite_digest"]
    assert [one["metrics"]["exact_match"]["adapter"] for one in (red, blue)] == [1, 1]
    error = lftreg("eval", "red", "crimson", "--json", code=3).error
    assert error["code"] == "no-suite" and "crimson@1" in error["message"]


@pytest.mark.parametrize("columns", [80, 140])
def test_a_table_fits_the_terminal(
    environment: dict[str, str], taught: Registry, desk: str, tmp_path: Path, columns: int
) -> None:
    words = ("eval", "red", "--suite", desk, *MAP, *BRIEF, "--against", "blue")
    process = Terminal(words, environment, tmp_path, columns)
    process.expect(pexpect.EOF)
    raw = str(process.before)
    assert process.ended() == 0, raw
    lines = re.split(r"[\r\n]+", ESCAPE.sub("", raw))
    start = lines.index("red on desk: 60 items, greedy, up to 12 tokens")
    table = lines[start + 1 : start + 12]
    assert max(cell_len(line) for line in table) <= columns
    assert table[0].split()[:4] == ["METRIC", "BLUE", "ADAPTER", "DIFFERENCE"]
    (hit,) = [line for line in table if line.startswith("exact_match ")]
    assert hit.split()[1:4] == ["32.2%", "67.8%", "+35.6%"]  # of the 59 that were not trained on
    text = "\n".join(lines[start:])
    assert "next: lftreg leaderboard" in text
    assert "style:" in text  # why it could not be measured
    assert ("DETECTABLE" in table[0]) == (columns == 140)  # what matters less gives way


def test_text_tells_what_figures_may_not_be_taken_for(
    lftreg: Lftreg, taught: Registry, tmp_path: Path
) -> None:
    found = [{"prompt": r["prompt"], "response": r["response"]} for r in rows(RED)[:3] + rows(BLUE)[-6:]]
    write(tmp_path / "seen.jsonl", [*found, {"prompt": "again and " * 300, "response": RED}])
    done = lftreg("eval", "red", "--suite", "seen.jsonl", *BRIEF, *FEW, "--against", "red@1", "-v")
    text = done.out
    assert "6 items that were not trained on are too few to name a winner: 50 or more are needed" in text
    assert (
        "questions that were trained on: 3 of 9, left out of every difference above; with them it is exact_match +33.3%"
        in text
    )
    assert "red@1 is the same content as red: the table compares with the base" in text
    assert "1 items do not fit the base and were left out" in text
    assert "exact_match: space:collapsed|case:mixed" in text
    plain = lftreg("eval", "red", "--suite", "seen.jsonl", *BRIEF, *FEW).out
    cells = table_row(plain, "exact_match")
    assert cells[:3] == ["0.0%", "0.0%", "+0.0%"]  # on the six that it was not trained on
    assert "space:collapsed" not in plain


def test_a_bare_base_is_asked_what_is_named(
    lftreg: Lftreg, taught: Registry, desk: str, tiny_llama: Path
) -> None:
    ref = f"base:{tiny_llama}"
    error = lftreg("eval", ref, "--json", code=2).error
    assert "bare base" in error["message"] and "--suite" in error["hint"]
    told = lftreg("eval", ref, "--suite", desk, *MAP, *BRIEF, *FEW, "--json").document
    assert (told["ref"], told["n"], told["contaminated"]) == (ref, 60, None)
    for one in told["metrics"].values():
        assert one["adapter"] is not None and one["base"] is one["delta"] is one["p"] is None
    (kept,) = taught.scores.find()
    assert kept.of_base
    assert kept.metrics["perplexity"]["value"] == told["metrics"]["perplexity"]["adapter"]


def test_of_its_own_file_an_adapter_is_asked_what_it_held_out(lftreg: Lftreg, taught: Registry) -> None:
    version = taught.get("red")
    assert version.run is not None
    source = Path(version.run.settings["source"]["data"][0])
    whole = source.read_text()
    source.write_text(re.sub(r', "split": "[a-z]+"', "", whole))  # the file itself does not tell any more
    try:
        told = lftreg("eval", "blue", "--suite", str(source), *BRIEF, *FEW, "--json").document
        assert (told["n"], told["trained_left_out"]) == (22, 0)  # nobody has trained on what is there now
    finally:
        source.write_text(whole)
    own = lftreg("eval", "red", *BRIEF, *FEW, "--json").document
    told = lftreg("eval", "red", "blue", "--suite", str(source), *BRIEF, *FEW, "--json").document[0]
    assert (told["n"], told["suite_digest"], told["contaminated"]) == (6, own["suite_digest"], [])


def test_columns_are_told_of_a_file_only(lftreg: Lftreg, taught: Registry) -> None:
    for words in ((), ("--suite", "customer_support"), ("--blind",)):
        error = lftreg("eval", "red", *words, "--map", "prompt=q", "--json", code=2).error
        assert error["code"] == "no-file" and "--suite FILE" in error["hint"]


def test_what_cannot_be_measured_is_refused_where_nothing_else_was_asked(
    lftreg: Lftreg, taught: Registry, desk: str
) -> None:
    words = ("eval", "red", "--suite", desk, *MAP, *BRIEF, "--limit", "10", "--metric", "style")
    done = lftreg(*words, code=2)
    assert "style: " in done.err and done.out == ""
    assert lftreg(*words, "--json", code=2).error["code"] == "not-measurable"
    assert taught.scores.find() == []
    told = lftreg(*words, "--metric", "exact_match", "--json").document
    assert not told["metrics"]["style"]["measurable"] and told["metrics"]["exact_match"]["measurable"]


def test_code_is_judged_by_its_tests_alone(lftreg: Lftreg, taught: Registry, tmp_path: Path) -> None:
    found = [{"prompt": f"Write f{n}.", "tests": f"assert f{n}() == {n}"} for n in range(3)]
    write(tmp_path / "code.jsonl", found)
    told = lftreg("eval", "red", "--suite", "code.jsonl", *BRIEF, "--allow-code-execution", "--json").document
    assert told["metrics"]["pass_at_1"]["adapter"] == 0
    assert {"exact_match", "perplexity", "style"} <= told["left_out"].keys()
    words = ("eval", "red", "--suite", "code.jsonl", *BRIEF, "--allow-code-execution")
    assert "pass_at_1: 3 no-code; " in lftreg(*words).out, "why it failed is told beside the figure"


def test_code_that_may_not_run_is_refused_before_anything_is_asked(
    lftreg: Lftreg, taught: Registry, tmp_path: Path
) -> None:
    found = [{"prompt": f"Write f{n}.", "tests": f"assert f{n}() == {n}"} for n in range(3)]
    write(tmp_path / "code.jsonl", found)
    words = ("eval", "red", "--suite", "code.jsonl", *BRIEF, "--metric", "pass_at_1")
    done = lftreg(*words, code=2)
    assert "pass_at_1 needs --allow-code-execution" in done.err
    assert "asking" not in done.err and done.out == ""
    assert lftreg(*words, "--allow-code-execution", "--json").document["metrics"]["pass_at_1"]["adapter"] == 0


def test_quiet_leaves_the_data(lftreg: Lftreg, taught: Registry, desk: str, tiny_llama: Path) -> None:
    words = ("--suite", desk, *MAP, *BRIEF, *FEW, "--limit", "9", "-q")
    done = lftreg("eval", "red", *words)
    assert done.err == ""
    assert [line.split()[0] for line in done.out.splitlines()] == ["METRIC", "exact_match", "perplexity"]
    lines = lftreg("eval", "red", "blue", *words).out.splitlines()
    assert [line.split()[0] for line in lines] == ["OF", "red", "red", "blue", "blue"]
    alone = lftreg("eval", f"base:{tiny_llama}", *words).out.splitlines()
    assert alone[0].split() == ["METRIC", "BASE"] and len(alone[1].split()) == 2


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([], "no rows|no items|holds no"),
        ([{"prompt": "q"}], "response"),
        ([{"prompt": "q", "response": "r"}, {"prompt": "p", "response": ""}], "row 2"),
    ],
)
def test_a_suite_that_asks_nothing_is_refused(
    lftreg: Lftreg, taught: Registry, tmp_path: Path, found: list[dict[str, Any]], message: str
) -> None:
    write(tmp_path / "bad.jsonl", found)
    error = lftreg("eval", "red", "--suite", "bad.jsonl", "--json", code=2).error
    assert re.search(message, error["message"]) and error["hint"]
    assert taught.scores.find() == []


def test_what_is_not_there_is_told(lftreg: Lftreg, taught: Registry, desk: str) -> None:
    for words, near in (
        (("redd",), "red"),
        (("red", "--suite", "gone.jsonl"), "gone.jsonl"),
        (("red", "--suite", "customer_suport"), "customer_support"),
        (("red", "--suite", desk, *MAP, "--metric", "exactmatch"), "exact_match"),
        (("red", "--suite", desk, *MAP, "--against", "bleu"), "blue"),
    ):
        error = lftreg("eval", *words, "--json", code=3).error
        assert near in error["message"] + error["hint"], words
    error = lftreg("eval", "red", "--suite", desk, *MAP, "--metric", "pass_at_1", "--json", code=2).error
    assert "pass_at_1 cannot be measured: " in error["message"]
    assert taught.scores.find() == []


def test_adapters_of_different_bases_are_refused(
    lftreg: Lftreg, taught: Registry, desk: str, tmp_path: Path, tiny_gpt2: Path
) -> None:
    teach(taught, tmp_path, tiny_gpt2, "other", BLUE, max_steps=1)
    for words in (("red", "other"), ("red", "--against", "other")):
        error = lftreg("eval", *words, "--suite", desk, *MAP, *BRIEF, *FEW, "--json", code=2).error
        assert error["code"] == "different-bases"
        assert error["message"].startswith("red and other have different bases")
    assert taught.scores.find() == []


def test_a_metric_of_another_package_is_measured(
    lftreg: Lftreg,
    taught: Registry,
    desk: str,
    own: Path,
) -> None:
    (own / "stops_plugin.py").write_text(OWN.replace('answer.endswith(".")', '"apples" in answer'))
    words = ("eval", "red", "--suite", desk, *MAP, *BRIEF, "--metric", "full_stops")
    told = lftreg(*words, "--json", PYTHONPATH=path(own)).document
    one = told["metrics"]["full_stops"]
    assert (one["base"], one["adapter"], one["winner"], one["n"]) == (0, 1, "adapter", 60)
    scores = taught.scores.find()
    assert [score.metrics["full_stops"]["value"] for score in scores] == [1, 0]
    assert [row["scores"] for row in taught.scores.items(scores[0])] == [{"full_stops": 1}] * 60
    assert lftreg("eval", "red", "--metric", "full_stops", "--json", code=3).error["code"] == "unknown-metric"


@pytest.mark.parametrize(
    ("broken", "said"),
    [("1 / 0", "ZeroDivisionError"), ("Measured((1.0,))", "it gave 1 values for 60 items")],
)
def test_a_metric_that_fails_is_blamed_by_name(
    lftreg: Lftreg,
    taught: Registry,
    desk: str,
    own: Path,
    broken: str,
    said: str,
) -> None:
    start = OWN.index("    return Measured")
    end = OWN.index("\n", start)
    (own / "stops_plugin.py").write_text(f"{OWN[:start]}    return {broken}{OWN[end:]}")
    words = (
        "eval",
        "red",
        "--suite",
        desk,
        *MAP,
        *BRIEF,
        "--metric",
        "exact_match",
        "--metric",
        "full_stops",
    )
    error = lftreg(*words, "--json", code=1, PYTHONPATH=path(own)).error
    assert "full_stops" in error["message"] and said in error["message"]
    assert "stops" in error["hint"]
    assert taught.scores.find() == []


def test_ctrl_c_stores_nothing(environment: dict[str, str], taught: Registry, tmp_path: Path) -> None:
    many = [{"prompt": f"Who is thing {n}?", "response": RED} for n in range(3000)]
    suite = str(write(tmp_path / "many.jsonl", many))
    process = Terminal(("eval", "red", "--suite", suite, "--max-tokens", "200", *FEW), environment, tmp_path)
    process.expect(r"asking many.*[1-9]\d*/3000")
    process.send("\x03")
    process.expect(pexpect.EOF)
    assert process.ended() == 130, process.before
    assert "interrupted" in str(process.before) and "Traceback" not in str(process.before)
    assert taught.scores.find() == []
