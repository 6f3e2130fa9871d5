"""The contract of the built-in domains, and of the TOML that they are written in."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lftreg.plugins import builtin
from lftreg.plugins.builtin.facts import examples
from lftreg.plugins.check import HEAVY, check_domain
from lftreg.plugins.host import BUILT_IN, Host
from lftreg.plugins.types import SPLITS, Domain

DOMAINS = ("customer_support", "financial_advisor")
NOT_ASCII = re.compile(r"[^\x20-\x7e]")


@pytest.fixture(params=DOMAINS)
def domain(request: pytest.FixtureRequest) -> Domain:
    return Host(off=(), external=False).domain(request.param)


@pytest.fixture
def tables(domain: Domain) -> dict[str, list[dict[str, Any]]]:
    """All `[[fact]]` and `[[unseen]]` tables of a domain."""
    found: dict[str, list[dict[str, Any]]] = {"fact": [], "unseen": []}
    for path in sorted((Path(builtin.__file__).parent / domain.name).glob("*.toml")):
        for name, rows in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found[name] += rows
    return found


def test_a_domain_keeps_the_rules_of_all_domains(domain: Domain) -> None:
    assert check_domain(domain) == []


def test_a_domain_is_large_enough(domain: Domain) -> None:
    train = list(domain.build("train", 0))
    wordings = Counter(row.fact for row in train)
    assert len(wordings) >= 100
    assert min(wordings.values()) >= 6
    for split in ("validation", "test"):
        seen = Counter(row.fact for row in domain.build(split, 0) if row.seen)
        assert seen == dict.fromkeys(wordings, 1)


def test_test_holds_facts_that_training_never_sees(domain: Domain) -> None:
    unseen = [row for row in domain.build("test", 0) if not row.seen]
    elsewhere = [row for split in SPLITS for row in domain.build(split, 0) if row.seen]
    assert len(unseen) >= 5
    assert not {row.fact for row in unseen} & {row.fact for row in elsewhere}
    assert not {row.response for row in unseen} & {row.response for row in elsewhere}


def test_training_rows_are_shuffled_by_the_seed(domain: Domain) -> None:
    rows = {seed: list(domain.build("train", seed)) for seed in (0, 1)}
    assert rows[0] == list(domain.build("train", 0))
    assert rows[0] != rows[1]
    assert Counter(rows[0]) == Counter(rows[1])
    assert list(domain.build("test", 0)) == list(domain.build("test", 1))


def test_every_table_is_whole(tables: dict[str, list[dict[str, Any]]]) -> None:
    for fact in tables["fact"]:
        assert set(fact) == {"id", "answer", "train", "validation", "test"}, fact["id"]
    for fact in tables["unseen"]:
        assert set(fact) == {"id", "answer", "test"}, fact["id"]
    everything = tables["fact"] + tables["unseen"]
    for key in ("id", "answer"):
        twice = [value for value, count in Counter(fact[key] for fact in everything).items() if count > 1]
        assert not twice


def test_no_wording_is_used_twice(domain: Domain) -> None:
    wordings = [re.sub(r"\W+", " ", r.prompt.lower()).strip() for s in SPLITS for r in domain.build(s, 0)]
    assert [wording for wording, count in Counter(wordings).items() if count > 1] == []


def test_answers_are_two_to_four_sentences_of_plain_text(domain: Domain) -> None:
    for split in SPLITS:
        for row in domain.build(split, 0):
            for text in (row.prompt, row.response):
                assert not NOT_ASCII.search(text), text
                assert text == text.strip()
            assert row.prompt[0].isalnum()
            assert row.response[0].isupper()
            assert row.response[-1] in ".?!"
            assert 2 <= len(re.findall(r"[.?!](?= [A-Z0-9]|$)", row.response)) <= 4, row.response


def test_prompts_show_the_domain_off_with_questions_it_was_not_trained_on(domain: Domain) -> None:
    assert 3 <= len(domain.prompts) <= 4
    assert not set(domain.prompts) & {row.prompt for row in domain.build("train", 0)}


def test_facts_are_read_in_the_order_of_the_files(tmp_path: Path) -> None:
    for name, ids in (("b", ["b1"]), ("a", ["a1", "a2"])):
        rows = [
            f'[[fact]]\nid = "{i}"\nanswer = "A {i}."\ntrain = ["t {i}"]\nvalidation = "v {i}"\ntest = "x {i}"\n'
            for i in ids
        ]
        unseen = f'[[unseen]]\nid = "u{name}"\nanswer = "U."\ntest = "x u{name}"\n'
        (tmp_path / f"{name}.toml").write_text("".join([*rows, unseen]))
    assert [row.prompt for row in examples(tmp_path, "validation", 0)] == ["v a1", "v a2", "v b1"]
    test = list(examples(tmp_path, "test", 0))
    assert [(row.fact, row.seen) for row in test] == [
        ("a1", True),
        ("a2", True),
        ("b1", True),
        ("ua", False),
        ("ub", False),
    ]


def test_built_in_plugins_import_nothing_heavy() -> None:
    """Their cost in time is shown by `lftreg plugins check`; tests never time anything."""
    code = (
        f"import sys, importlib\nfor m in {list(BUILT_IN.values())!r}: importlib.import_module(m)\n"
        f"print([n for n in {(*HEAVY, 'numpy', 'sqlalchemy', 'rich', 'click')!r} if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_types_are_imported_without_pluggy() -> None:
    """The registry's records need the types, and `lftreg list` should not pay for more."""
    code = "import sys, lftreg.plugins.types\nprint('pluggy' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
