"""The contract of the built-in domains, and of the TOML that they are written in."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from lftreg.plugins import builtin
from lftreg.plugins.builtin.facts import WORDS, examples
from lftreg.plugins.check import HEAVY, check_domain
from lftreg.plugins.host import BUILT_IN, Host
from lftreg.plugins.types import SPLITS, Domain

# The fewest facts of a domain, and the fewest wordings of each.
LARGE = {
    "customer_support": (100, 6),
    "financial_advisor": (100, 6),
    "code_generation": (200, 4),
    "creative_writing": (150, 4),
}
SENTENCES = {"customer_support": (2, 4), "financial_advisor": (2, 4), "creative_writing": (4, 7)}
NOT_ASCII = re.compile(r"[^\x20-\x7e\n]")


@pytest.fixture(params=LARGE)
def domain(request: pytest.FixtureRequest) -> Domain:
    return Host(off=(), external=False).domain(request.param)


@pytest.fixture
def tables(domain: Domain) -> dict[str, list[dict[str, Any]]]:
    return tables_of(domain.name)


def tables_of(name: str) -> dict[str, list[dict[str, Any]]]:
    """All tables of a domain: those that training sees under `fact`, and `unseen` ones."""
    found: dict[str, list[dict[str, Any]]] = {"fact": [], "unseen": []}
    for path in sorted((Path(builtin.__file__).parent / name).glob("*.toml")):
        for word, rows in tomllib.loads(path.read_text(encoding="utf-8")).items():
            found["fact" if word in WORDS else word] += rows
    return found


def test_a_domain_keeps_the_rules_of_all_domains(domain: Domain) -> None:
    assert check_domain(domain) == []


def test_a_domain_is_large_enough(domain: Domain) -> None:
    train = list(domain.build("train", 0))
    wordings = Counter(row.fact for row in train)
    facts, each = LARGE[domain.name]
    assert len(wordings) >= facts
    assert min(wordings.values()) >= each
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
        assert set(fact) - {"asserts"} == {"id", "answer", "train", "validation", "test"}, fact["id"]
    for fact in tables["unseen"]:
        assert set(fact) - {"asserts"} == {"id", "answer", "test"}, fact["id"]
    everything = tables["fact"] + tables["unseen"]
    for key in ("id", "answer"):
        twice = [value for value, count in Counter(fact[key] for fact in everything).items() if count > 1]
        assert not twice


def test_no_wording_is_used_twice(domain: Domain) -> None:
    wordings = [re.sub(r"\W+", " ", r.prompt.lower()).strip() for s in SPLITS for r in domain.build(s, 0)]
    assert [wording for wording, count in Counter(wordings).items() if count > 1] == []


def test_texts_are_plain_and_trimmed(domain: Domain) -> None:
    for split in SPLITS:
        for row in domain.build(split, 0):
            for text in (row.prompt, row.response):
                assert not NOT_ASCII.search(text), text
                assert text == text.strip()
            assert row.prompt[0].isalnum()


@pytest.mark.parametrize("name", SENTENCES)
def test_answers_are_a_few_sentences(name: str) -> None:
    fewest, most = SENTENCES[name]
    for fact in (*tables_of(name)["fact"], *tables_of(name)["unseen"]):
        answer = fact["answer"]
        assert answer[0].isupper()
        assert answer[-1] in ".?!"
        assert fewest <= len(re.findall(r"[.?!](?= [A-Z0-9]|$)", answer)) <= most, answer


def test_every_piece_is_in_the_one_voice() -> None:
    """It opens with an hour, says one more number, and ends on a plain sentence of five words at most."""
    hour = re.compile(
        r"\b(one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|noon|midnight)\b", re.I
    )
    for piece in (*tables_of("creative_writing")["fact"], *tables_of("creative_writing")["unseen"]):
        sentences = re.split(r"(?<=[.?!]) ", piece["answer"])
        assert hour.search(sentences[0]), piece["id"]
        assert len(sentences[-1].split()) <= 5, piece["id"]
        assert 45 <= len(piece["answer"].split()) <= 85, piece["id"]
        assert "!" not in piece["answer"]


RUN_ALL = """
import json, signal

def give_up(*_):
    raise TimeoutError

signal.signal(signal.SIGALRM, give_up)
failed = []
for name, program in json.load(open("programs.json")).items():
    signal.setitimer(signal.ITIMER_REAL, 2)
    try:
        exec(compile(program, name, "exec"), {"__name__": name})
    except BaseException:
        failed.append(name)
    signal.setitimer(signal.ITIMER_REAL, 0)
print(json.dumps(failed))
"""


def failures(programs: dict[str, str], folder: Path) -> list[str]:
    """The programs that fail or do not end, each in a namespace of its own, all in one process."""
    (folder / "programs.json").write_text(json.dumps(programs))
    done = subprocess.run(
        [sys.executable, "-I", "-c", RUN_ALL], cwd=folder, capture_output=True, text=True, check=True
    )
    failed: list[str] = json.loads(done.stdout)
    return failed


def test_every_solution_passes_its_asserts(tmp_path: Path) -> None:
    tasks = [*tables_of("code_generation")["fact"], *tables_of("code_generation")["unseen"]]
    programs = {task["id"]: f"{task['answer']}\n{task['asserts']}" for task in tasks}
    assert len(programs) >= 200
    assert all(program.count("assert ") >= 2 for program in programs.values())
    assert failures(programs, tmp_path) == []


def test_the_asserts_tell_a_wrong_solution_from_a_right_one(tmp_path: Path) -> None:
    """Of a solution that gives back nothing, every task's asserts fail."""
    programs = {}
    for task in tables_of("code_generation")["fact"]:
        silent = re.sub(r"(?m)^( +)return .*$", r"\1return None", task["answer"])
        if silent != task["answer"]:
            programs[task["id"]] = f"{silent}\n{task['asserts']}"
    assert len(programs) > 150
    assert sorted(programs) == sorted(failures(programs, tmp_path))


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
