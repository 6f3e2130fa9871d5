"""Hostile inputs 63 to 73, through the real command: names, words and numbers that mean harm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from lftreg.paths import Home
from lftreg.registry import Registry
from tests import confined
from tests.cli.conftest import Done
from tests.registry.schemas.make import fill

MEMORY = 200 << 20  # bytes on top of the libraries
SECONDS = 2  # of a processor
NAMES = {
    "63-parent": "../x",
    "63-absolute": "/etc/x",
    "63-dotdot": "..",
    "64-nul": "a\0b",
    "65-4kB": "a" * 4096,
    "66-homoglyph": "suppоrt",
    "66-right-to-left": "x\u202etroppus",
    "66-full-width": "ｓｕｐｐｏｒｔ",
    "67-two-ats": "a@b@c",
    "69-dash": "-x",
    "69-flag": "--force",
    "70-quote-or": "x' OR '1'='1",
    "70-statement": "x'); DROP TABLE versions; --",
    "no-text": "a\udcffb",
}
EVERYWHERE = ("../x", "a\0b", "-x", "x' OR '1'='1")
REFS: tuple[tuple[str, ...], ...] = (
    ("show", "{}"), ("tag", "{}", "a=b"), ("alias", "{}", "new"), ("rm", "{}"), ("restore", "{}"),
    ("verify", "{}"), ("export", "{}", "--output", "out"), ("compose", "{}", "support"), ("lineage", "{}"),
)  # fmt: skip
TAKEN: tuple[tuple[str, ...], ...] = (
    ("alias", "support", "{}"), ("keys", "add", "{}"), ("compose", "support", "copy", "--name", "{}"),
    ("import", "peft", "--base", "starter", "--name", "{}"), ("train", "--data", "rows.jsonl", "--name", "{}"),
)  # fmt: skip
FILTERS: tuple[tuple[str, ...], ...] = (
    ("list", "--name", "{}"), ("list", "--domain", "{}"), ("list", "--base", "{}"), ("list", "--tag", "team={}"),
)  # fmt: skip
OPERATORS = (
    '"', "''", "*", "support*", "NEAR(support desk)", "support AND nowhere", "support OR nowhere", "NOT support",
    "said:support", "{said}: support", "^support", "(support", "support)", "a + b", "%", "_", "\\", "x' OR '1'='1",
    '" OR said MATCH "support', "support; DROP TABLE words; --", "ſupport", "desk" * 1000, "a " * 30,
)  # fmt: skip

Run = Callable[..., Done]


@pytest.fixture
def lftreg(home: Path, tmp_path: Path) -> Run:
    """`lftreg WORDS --json` with 200 MB and 2 s, beside a registry that is filled, an adapter and a data file."""
    with Registry(Home(home)) as registry:
        fill(registry, tmp_path)
    rows = [json.dumps({"prompt": f"q{n}", "completion": f"a{n}"}) for n in range(30)]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    environment = os.environ | {"LFTREG_HOME": str(home)}
    start = partial(confined.lftreg, environment=environment, folder=tmp_path, AS=MEMORY, CPU=SECONDS)
    assert start("export", "support", "--output", "peft").returncode == 0

    def run(*words: str) -> Done:
        done = start(words[0], "--json", *words[1:]) if "--" in words else start(*words, "--json")
        return Done(done.returncode, done.stdout, done.stderr)

    return run


def everything(folder: Path) -> dict[str, bytes]:
    """All files, and what is in the database; what SQLite keeps beside it says nothing more."""
    from tests.registry.test_migrations import rows

    files = [path for path in folder.rglob("*") if path.is_file() and "registry.db" not in path.name]
    tables = rows(folder / "home" / "registry.db")
    return {str(path): path.read_bytes() for path in files} | {
        name: repr(table).encode() for name, table in tables.items()
    }


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_name_that_is_none_is_refused(lftreg: Run, tmp_path: Path, name: str) -> None:
    before = everything(tmp_path)
    some = (REFS[0], TAKEN[0], TAKEN[1])
    for words in (*REFS, *TAKEN) if name in EVERYWHERE else some:
        done = lftreg(*(word.format(name) if word == "{}" else word for word in words))
        assert (done.code, done.out) == (2, ""), (words, done.err)
        expected = {"invalid-reference"} if words in REFS else {"invalid-name"}
        typed_as_a_flag = name.startswith("-") and not words[words.index("{}") - 1].startswith("--")
        assert done.error["code"] in ({"usage"} if typed_as_a_flag else expected), (words, done.err)
        assert len(done.error["message"]) < 400 and "\u202e" not in done.err
    for words in FILTERS if name in EVERYWHERE else FILTERS[:1]:
        done = lftreg(*(word.format(name) for word in words))
        if name == NAMES["no-text"] or "\0" in name:
            assert done.error["code"] == "invalid-text"
        else:
            assert (done.code, done.document) == (0, []), words
    assert everything(tmp_path) == before


REFUSED: dict[str, tuple[tuple[str, ...], str]] = {
    "64-nul-tag-key": (("tag", "support", "a\0b=c"), "invalid-tag"),
    "64-nul-tag-value": (("tag", "support", "a=b\0c"), "invalid-text"),
    "64-nul-key-pattern": (("keys", "add", "k", "--adapter", "a\0b"), "invalid-pattern"),
    "64-nul-who": (("log", "--who", "a\0b"), "invalid-text"),
    "65-4kB-tag-key": (("tag", "support", "a" * 4096 + "=b"), "invalid-tag"),
    "65-4kB-pattern": (("keys", "add", "k", "--adapter", "a" * 4096), "invalid-pattern"),
    "65-4kB-base": (("import", "peft", "--name", "x", "--base", "a" * 4096), "name-too-long"),
    "65-4kB-domain": (("train", "a" * 4096), "name-too-long"),
    "65-4kB-path": (("import", "a" * 4096), "name-too-long"),
    "66-right-to-left-tag-key": (("tag", "support", "x\u202etroppus=b"), "invalid-tag"),
    "67-two-ats-alias-removed": (("alias", "support", "a@b@c", "--remove"), "unknown-alias"),
    "68-alias-2": (("alias", "support", "2"), "invalid-name"),
    "68-alias-02": (("alias", "support", "02"), "invalid-name"),
    "68-alias-arabic-2": (("alias", "support", "٢"), "invalid-name"),
    "68-alias-superscript-2": (("alias", "support", "²"), "invalid-name"),
    "68-alias-digest": (("alias", "support", "sha256:abcdef12"), "invalid-name"),
    "68-number-0": (("show", "support@0"), "invalid-reference"),
    "68-number-of-5000-digits": (("show", "support@" + "9" * 5000), "invalid-reference"),
    "70-quote-or-tag": (("rm", "support@x' OR '1'='1"), "invalid-reference"),
    "70-quote-or-scope": (("keys", "add", "k", "--scope", "x' OR '1'='1"), "usage"),
    "72-order-by": (("list", "--sort", "name; DROP TABLE versions; --"), "unknown-field"),
    "72-order-by-case": (("search", "--sort", "(CASE WHEN 1=1 THEN name ELSE id END)"), "unknown-field"),
    "72-order-by-random": (("list", "--sort", "random()"), "unknown-field"),
    "72-where": (("list", "--where", "name = x) OR (1 = 1"), "invalid-where"),
    "73-limit": (("list", "--limit", "-1"), "usage"),
    "73-limit-search": (("search", "support", "--limit", "-1"), "usage"),
    "73-limit-log": (("log", "--limit", "-1"), "usage"),
    "73-limit-of-5000-digits": (("list", "--limit", "9" * 5000), "usage"),
    "73-before": (("log", "--before", "-1"), "usage"),
}


@pytest.mark.parametrize(("words", "code"), REFUSED.values(), ids=REFUSED)
def test_refused(lftreg: Run, tmp_path: Path, words: tuple[str, ...], code: str) -> None:
    before = everything(tmp_path)
    done = lftreg(*words)
    assert done.code != 0 and done.out == "", done
    assert done.error["code"] == code
    assert everything(tmp_path) == before


def test_70_a_tag_may_say_anything_and_does_nothing(lftreg: Run) -> None:
    """Values are data: they come back as they were given, and a filter by them finds the one that has them."""
    values = ("x' OR '1'='1", "'); DROP TABLE tags; --", '"', "%", "\\", "a\nb", "=", "-x")
    for value in values:
        assert lftreg("tag", "support", f"note={value}").document["tags"]["note"] == value
        found: list[dict[str, Any]] = lftreg("list", "--tag", f"note={value}").document
        assert [row["ref"] for row in found] == ["support@2"]
    assert len(lftreg("list", "--all").document) == 8


def test_71_operators_are_words(lftreg: Run, tmp_path: Path) -> None:
    before = everything(tmp_path)
    for text in OPERATORS:
        done = lftreg("search", "--", text)
        assert done.code == 0, (text[:40], done.err)
        assert isinstance(done.document, list)
    assert everything(tmp_path) == before
