from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg.data import read_data
from lftreg.data.origin import data_digest
from lftreg.errors import InvalidData, NotFound, UsageError
from lftreg.evaluation.suite import Suite, find_suite, make_suite, some
from lftreg.evaluation.together import suites
from lftreg.plugins.host import Host
from lftreg.plugins.types import SPLITS, Example
from lftreg.registry import Draft, Registry, Run
from tests.registry.conftest import draft  # noqa: F401 a fixture

Make = Callable[..., Draft]


def write(path: Path, rows: list[dict[str, object]]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def test_a_domain_is_asked_its_test_rows_and_knows_their_other_wordings(registry: Registry) -> None:
    domain = Host().domain("customer_support")
    suite = find_suite("customer_support", None, registry, Host())
    rows = list(domain.build("test", 0))
    assert [item.prompt for item in suite.items] == [row.prompt for row in rows]
    assert [item.reference for item in suite.items] == [row.response for row in rows]
    validation = {row.fact: row.prompt for row in domain.build("validation", 0)}
    for item in suite.items:
        assert item.paraphrases == ((validation[item.example.fact],) if item.example.seen else ())


def test_what_is_asked_never_holds_the_answer(registry: Registry) -> None:
    for name in Host().domains():
        for item in find_suite(name, None, registry, Host()).items:
            assert all(turn.role != "assistant" for turn in item.asked)
            assert item.reference not in [turn.content for turn in item.asked]


def test_a_file_may_bring_paraphrases_facts_and_tests(registry: Registry, tmp_path: Path) -> None:
    rows = [
        {"prompt": "a?", "response": "A", "fact": "one"},
        {"prompt": "a then?", "response": "A", "fact": "one"},
        {"prompt": "f?", "response": "def f(): pass", "tests": "assert f", "paraphrases": ["write f"]},
    ]
    suite = find_suite(write(tmp_path / "mine.jsonl", rows), None, registry, Host())
    assert suite.name == "mine"
    assert [item.paraphrases for item in suite.items] == [("a then?",), ("a?",), ("write f",)]
    assert suite.items[2].example.tests == "assert f"


def test_tests_stand_in_the_place_of_an_answer(registry: Registry, tmp_path: Path) -> None:
    """HumanEval's shape, but for a solution that nobody reads."""
    check = "def check(candidate):\n    assert candidate(2) == 4\n"
    rows: list[dict[str, object]] = [
        {
            "task_id": "0",
            "prompt": "def twice(n):",
            "test": check,
            "entry_point": "twice",
            "canonical_solution": "",
        }
    ]
    (item,) = find_suite(write(tmp_path / "human.jsonl", rows), None, registry, Host()).items
    assert (item.reference, item.paraphrases) == ("", ())
    assert [turn.content for turn in item.asked] == ["def twice(n):"]
    solved = {"twice": lambda n: 2 * n}
    exec(item.example.tests, solved)
    with pytest.raises(AssertionError):
        exec(item.example.tests, {"twice": lambda n: n})
    plain: list[dict[str, object]] = [{"prompt": "p", "tests": "assert f()"}, {"prompt": "q", "tests": ""}]
    with pytest.raises(InvalidData, match="row 2: 'tests'"):
        find_suite(write(tmp_path / "plain.jsonl", plain), None, registry, Host())
    with pytest.raises(InvalidData, match="wanted prompt and response"):
        read_data([tmp_path / "human.jsonl"])  # there is nothing to learn


def test_paraphrases_may_be_a_list_in_a_cell(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text('prompt,response,paraphrases\na?,A,"[""a then?"", ""so a?""]"\nb?,B,\n')
    suite = find_suite(str(file), None, registry, Host())
    assert [item.paraphrases for item in suite.items] == [("a then?", "so a?"), ()]
    file.write_text("prompt,response,paraphrases\na?,A,a then?\n")
    with pytest.raises(InvalidData, match="row 1: 'paraphrases' is not a list of texts"):
        find_suite(str(file), None, registry, Host())


def test_of_a_file_that_names_splits_only_test_is_asked(registry: Registry, tmp_path: Path) -> None:
    rows = [{"prompt": f"q{n}", "response": "r", "split": s} for n, s in enumerate(["train", "test", "test"])]
    suite = find_suite(write(tmp_path / "mine.jsonl", rows), None, registry, Host())
    assert [item.prompt for item in suite.items] == ["q1", "q2"]
    with pytest.raises(InvalidData, match="in the split test"):
        find_suite(write(tmp_path / "none.jsonl", rows[:1]), None, registry, Host())


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([], "no rows|no items|holds no"),
        ([{"prompt": "q"}], "response"),
        ([{"prompt": "q", "response": ""}], "row 1"),
        ([{"prompt": "q", "response": "r"}, {"prompt": "p", "response": None}], "row 2"),
    ],
)
def test_a_suite_without_items_or_references_is_refused(
    registry: Registry, tmp_path: Path, rows: list[dict[str, object]], said: str
) -> None:
    with pytest.raises(InvalidData, match=said):
        find_suite(write(tmp_path / "bad.jsonl", rows), None, registry, Host())


def test_names_that_are_no_suite_are_told(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="Did you mean 'customer_support'"):
        find_suite("customer_suport", None, registry, Host())
    with pytest.raises(NotFound, match="no file"):
        find_suite(str(tmp_path / "gone.jsonl"), None, registry, Host())
    with pytest.raises(UsageError, match="bare base"):
        find_suite(None, None, registry, Host())


def test_a_digest_follows_from_what_is_asked_and_expected() -> None:
    rows = [Example.pair("q", "r"), Example.pair("p", "s")]
    digest = make_suite("one", rows).digest
    assert digest == make_suite("two", rows).digest
    others = [
        rows[::-1],
        rows[:1],
        [Example.pair("q", "r"), Example.pair("p", "t")],
        [Example(rows[0].messages, paraphrases=("Q",)), rows[1]],
        [Example(rows[0].messages, tests="assert 1"), rows[1]],
    ]
    assert digest not in {make_suite("one", other).digest for other in others}


def test_some_items_are_the_same_ones_each_time_and_more_hold_fewer() -> None:
    suite = make_suite("one", [Example.pair(f"q{n}", "r") for n in range(40)])
    few, more = some(suite, 5), some(suite, 12)
    assert few == some(suite, 5)
    assert [item in more.items for item in few.items] == [True] * 5
    assert [suite.items.index(item) for item in more.items] == sorted(map(suite.items.index, more.items))
    assert some(suite, 40) is suite
    assert isinstance(few, Suite)


def test_of_its_own_file_a_version_is_asked_what_it_held_out(
    registry: Registry,
    draft: Make,  # noqa: F811
    tmp_path: Path,
) -> None:
    named = write(tmp_path / "inbox.jsonl", [{"prompt": f"q{n}?", "response": "r"} for n in range(80)])
    domain = read_data([named], "inbox").domain
    examples = {split: tuple(domain.build(split, 0)) for split in SPLITS}
    settings = {"source": {"data": [f"{named}:2"], "map": []}}
    shown = read_data([f"{named}:2"], "inbox").domain
    seen = data_digest({split: tuple(shown.build(split, 0)) for split in SPLITS})
    run = Run(0, seen, settings, {}, {}, {}, 0, 0.0)
    version = registry.publish(draft("inbox", run=run, attachments=dict(domain.attachments)))
    ((_, asked),) = suites([version.ref], named, registry, Host())
    assert [item.prompt for item in asked.items] == [example.prompt for example in examples["test"]]
    assert asked.trained_left_out == 80 - len(examples["test"])
    assert asked.digest == find_suite(None, version, registry, Host()).digest
    assert some(asked, 2).trained_left_out == asked.trained_left_out
    other = write(tmp_path / "other.jsonl", [{"prompt": "q0?", "response": "r"}])
    assert suites([version.ref], other, registry, Host())[0][1].trained_left_out == 0
