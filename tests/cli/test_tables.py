from __future__ import annotations

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.cells import cell_len
from rich.console import Console

from lftreg.cli.output import Output
from lftreg.cli.tables import Column, ago, count, money, print_fields, print_table, size

COLUMNS = (
    Column("adapter"),
    Column("domain", weight=1, cut=True),
    Column("rank", weight=2, right=True),
    Column("tags", weight=3, cut=True),
)


def drawn(rows: list[list[str]], width: int) -> list[str]:
    console = Console(file=io.StringIO(), width=width, color_system=None)
    print_table(console, COLUMNS, rows)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_columns_align_and_nothing_trails() -> None:
    lines = drawn([["support@1", "customer_support", "16", ""], ["a@12", "x", "4", ""]], 80)
    assert lines == [
        "ADAPTER    DOMAIN            RANK",
        "support@1  customer_support    16",
        "a@12       x                    4",
    ]


@pytest.mark.parametrize("width", range(30, 140, 3))
def test_every_width_fits_and_keeps_the_names(width: int) -> None:
    names = ["a@1", "a-name-of-some-length@3", "customer@12"]
    lines = drawn(
        [[name, "customer_support", "16", "team=desk tone=warm language=en"] for name in names], width
    )
    assert max(map(cell_len, lines)) <= width
    for name in names:
        assert sum(line.split("  ")[0] == name for line in lines) == 1


def test_a_name_of_full_length_stands_alone_and_others_stay_in_place() -> None:
    name = "n" * 64 + "@12345"
    assert drawn([[name, "one", "16", "t=1"], ["short@1", "two", "8", "t=2"]], 60) == [
        "ADAPTER  DOMAIN  RANK  TAGS",
        name,
        "         one       16  t=1",
        "short@1  two        8  t=2",
    ]


def test_prose_wraps_in_its_column() -> None:
    console = Console(file=io.StringIO(), width=44, color_system=None)
    columns = (Column("domain"), Column("what it teaches", wrap=True))
    print_table(
        console, columns, [["support", "The desk of a shop, one voice and short answers."], ["x", ""]]
    )
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        "DOMAIN   WHAT IT TEACHES",
        "support  The desk of a shop, one voice and",
        "         short answers.",
        "x",
    ]


def test_wide_characters_take_two_columns() -> None:
    lines = drawn([["support@1", "顧客", "16", ""], ["b@1", "plain", "8", ""]], 80)
    assert [cell_len(line) for line in lines] == [cell_len(lines[0])] * 3


def test_control_characters_cannot_reach_the_terminal() -> None:
    (_, line) = drawn([["support@1", "\x1b[31mred\x07\nnew", "16", "\u202eevil"]], 120)
    assert "\x1b" not in line
    assert "\\x1b[31mred\\x07 new" in line
    assert "\u202e" not in line


def test_nor_can_those_that_json_lets_pass(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).result({"said": "\x9b2J\u202eevil\x1b[2J"}, lambda console: None)
    out = capsys.readouterr().out
    assert json.loads(out)["said"] == "\x9b2J\u202eevil\x1b[2J"
    assert out.replace("\n", "").isprintable()


def test_fields_wrap_under_their_value() -> None:
    console = Console(file=io.StringIO(), width=40, color_system=None)
    print_fields(console, {"targets": ", ".join(["gate_proj"] * 6), "rank": "16", "empty": None})
    assert isinstance(console.file, io.StringIO)
    lines = console.file.getvalue().splitlines()
    assert lines[0].startswith("targets  gate_proj")
    assert lines[1].startswith("         gate_proj")
    assert lines[-1] == "rank     16"
    assert max(map(len, lines)) <= 40


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_949, "99.9 kB"),
        (99_950, "100 kB"),
        (999_600, "1.0 MB"),
        (25_000_000_000, "25.0 GB"),
    ],
)
def test_sizes(number: int, text: str) -> None:
    assert size(number) == text


@pytest.mark.parametrize(
    ("number", "text"),
    [(950, "950"), (12_600_000, "12.6 M"), (7_000_000_000, "7.0 B"), (405_000_000, "405 M")],
)
def test_counts(number: int, text: str) -> None:
    assert count(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (1, "just now"),
        (-3, "just now"),
        (60, "60 s ago"),
        (600, "10 min ago"),
        (7200, "2 h ago"),
        (3 * 86400, "3 days ago"),
        (90 * 86400, "2026-01-01"),
    ],
)
def test_ages(seconds: int, text: str) -> None:
    now = datetime(2026, 4, 1, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == text


@pytest.mark.parametrize(
    ("amount", "shown"),
    [(0, "$0.00"), (1234.5, "$1,234.50"), (0.4, "$0.40"), (0.0019, "$0.0019"), (6e-6, "under $0.0001")],
)
def test_money_for_people(amount: float, shown: str) -> None:
    assert money(amount) == shown
