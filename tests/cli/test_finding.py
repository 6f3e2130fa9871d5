"""`lftreg list` and `lftreg search`: conditions, orders, pages, and why nothing was found."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime

import pytest

from lftreg.registry import Registry, Score, Version

from .conftest import Lftreg, Publish


@pytest.fixture
def scored(registry: Registry, publish: Publish, desk: Version) -> None:
    """Three adapters of which two were measured, one of them in two versions."""
    publish("support", seed=9, domain="customer_support", tags={"team": "care"})
    registry.alias("support@1", "prod")
    for ref, bleu in (("support@1", 41.26), ("finance", 30), ("support@2", 12.5)):
        version = registry.get(ref)
        metrics = {"bleu": {"value": float(bleu)}}
        at = datetime.now(UTC)
        found = Score(
            version.digest, ref, version.base, "faq", "5" * 64, {}, "d" * 64, 50, metrics, {}, "", at
        )
        registry.scores.add([(found, [])])


def test_figures_that_were_asked_for_are_shown(lftreg: Lftreg, scored: None) -> None:
    asked = ("--where", "bleu > 20 and base = starter", "--sort", "-bleu")
    rows = lftreg("search", *asked, "--json").document
    assert [(row["ref"], row["metrics"]) for row in rows] == [
        ("support@1", {"bleu": 41.26}), ("finance@1", {"bleu": 30.0}),
    ]  # fmt: skip
    lines = lftreg("search", *asked).out.splitlines()
    assert lines[0].split()[:4] == ["ADAPTER", "ALIASES", "BLEU", "DOMAIN"]
    assert lines[1].split()[:4] == ["support@1", "prod", "41.26", "customer_support"]
    rows = lftreg("list", "--sort", "-faq/bleu,name", "--json").document
    assert [(row["ref"], row["metrics"]["faq/bleu"]) for row in rows] == [
        ("finance@1", 30.0), ("support@2", 12.5), ("advisor_desk@1", None),
    ]  # fmt: skip
    assert "metrics" not in lftreg("list", "--json").document[0]


def test_pages_follow_the_command_that_is_told(lftreg: Lftreg, scored: None) -> None:
    for words in (
        ["search", "starter", "--sort", "-bleu", "--where", "not domain = 'some other'", "--limit", "1"],
        ["list", "--all", "--base", "starter", "--limit", "3"],
        ["list", "--sort=name", "--limit=2"],
    ):
        seen: list[str] = []
        told = words
        while told:
            done = lftreg(*told, "--no-input")
            seen += [line.split()[0] for line in done.out.splitlines()[1:]]
            told = shlex.split(done.err.removeprefix("next: "))[1:]
        without = [word for word in words if not word.startswith("--limit") and not word.isdigit()]
        assert seen == lftreg(*without, "-q").out.split()
        assert len(seen) == len(set(seen)) > 2
        assert lftreg(*words, "-q").err == lftreg(*words, "--json").err == ""


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("search", "suppotr"), "no word begins with 'suppotr'. Did you mean 'support'?"),
        (("search", "finance", "prod"), "every word is known, but no version has all of them"),
        (("search", "%"), "nothing matches '%': words are of letters and digits"),
        (("search", "support", "--where", "bleu > 90"), "'support' is found, but nothing of it meets the condition"),
        (("search", "--where", "bleu > 90"), "no version meets the condition"),
        (("search", "support", "--after", "support@1"), "nothing that matches stands behind support@1"),
        (("list", "--where", "alias = prod"), "no newest version matches, but an older one does: --all lists it"),
        (("list", "--where", "bleu > 90"), "no adapter matches"),
        (("list", "--removed", "--where", "bleu > 90"), "nothing that was removed matches"),
    ],
)  # fmt: skip
def test_an_empty_result_says_why(lftreg: Lftreg, scored: None, words: tuple[str, ...], why: str) -> None:
    done = lftreg(*words)
    assert done.out == ""
    assert why in done.err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("search",), "usage", "nothing to search for"),
        (("search", "--where", "bleu >"), "invalid-where", "a value is expected here\n  bleu >\n        ^"),
        (("list", "--where", "blue > 3"), "unknown-field", "Did you mean 'bleu'?\n  blue > 3\n  ^"),
        (("list", "--sort", "-blue"), "unknown-field", "Did you mean 'bleu'?"),
        (("list", "--sort", "alias"), "invalid-sort", "several of 'alias'"),
    ],
)
def test_what_cannot_be_read_is_an_error(
    lftreg: Lftreg, scored: None, words: tuple[str, ...], code: str, message: str
) -> None:
    error = lftreg(*words, "--json", code=2).error
    assert error["code"] == code
    assert message in error["message"]


def test_a_caret_stands_below_its_place(lftreg: Lftreg, scored: None) -> None:
    done = lftreg(
        "search", "--where", "bleu > 3 and rank >= 4 and not (kind = trained or rank", code=2, COLUMNS="50"
    )
    lines = done.err.splitlines()
    at = next(number for number, line in enumerate(lines) if line.strip() == "^")
    assert lines[at].index("^") == len(lines[at - 1].rstrip())
    assert lines[at - 1].endswith("(kind = trained or rank")
