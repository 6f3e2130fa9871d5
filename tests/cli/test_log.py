"""`lftreg log`: every change leaves a line, with who made it."""

from __future__ import annotations

import socket

from lftreg.cli.commands import log as command
from lftreg.registry import Registry, log
from lftreg.registry.records import Version
from tests.cli.conftest import Lftreg, Publish


def test_every_change_leaves_a_line_with_who_made_it(
    lftreg: Lftreg, publish: Publish, environment: dict[str, str], desk: Version
) -> None:
    environment["LFTREG_USER"] = "anna"
    lftreg("alias", "support", "prod")
    lftreg("tag", "support", "team=care")
    environment["LFTREG_USER"] = "bob"
    lftreg("rm", "finance@1", "--yes")
    lftreg("restore", "finance@1")
    lftreg("alias", "support", "prod", "--remove")
    lftreg("keys", "add", "website")
    rows = lftreg("log", "--json").document
    assert [(row["who"], row["action"], row["ref"]) for row in rows[:6]] == [
        ("bob", "key", "website"),
        ("bob", "unalias", "support@1"),
        ("bob", "restore", "finance@1"),
        ("bob", "rm", "finance@1"),
        ("anna", "tag", "support@1"),
        ("anna", "alias", "support@1"),
    ]
    assert [row["action"] for row in rows[6:]] == ["register"] * len(rows[6:])
    assert rows[4]["details"] == {"tags": {"team": "care"}}
    assert {row["host"] for row in rows} == {socket.gethostname()}
    assert set(rows[0]) >= {
        "id",
        "at",
        "who",
        "host",
        "action",
        "ref",
        "subject",
        "version",
        "digest",
        "details",
    }


def test_lines_are_chosen_and_read_page_by_page(lftreg: Lftreg, desk: Version) -> None:
    lftreg("alias", "support", "prod")
    assert [row["action"] for row in lftreg("log", "support", "--json").document] == ["alias", "register"]
    assert lftreg("log", "support@prod", "--json").document == lftreg("log", "support@1", "--json").document
    assert [row["ref"] for row in lftreg("log", "--action", "alias", "--json").document] == ["support@1"]
    assert lftreg("log", "--who", "nobody", "--json").document == []
    assert len(lftreg("log", "--since", "1h", "--json").document) == 4
    (first,) = lftreg("log", "--limit", "1", "--json").document
    older = lftreg("log", "--before", str(first["id"]), "--json").document
    assert (first["action"], [row["action"] for row in older]) == ("alias", ["register"] * 3)
    assert "alias=prod" in lftreg("log").out
    assert "nothing" in lftreg("log", "--action", "purge").err


def test_bad_input_is_told(lftreg: Lftreg, desk: Version) -> None:
    for words in (
        ("--since", "tomorrow"),
        ("--since", "2999-01-01"),
        ("--action", "fly"),
        ("--limit", "0"),
        ("a@b@c",),
    ):
        error = lftreg("log", *words, "--json", code=2).error
        assert error["hint"], words


def test_an_empty_home_has_no_log(lftreg: Lftreg) -> None:
    assert lftreg("log", "--json").document == []


def test_the_command_knows_every_action(registry: Registry) -> None:
    assert command.ACTIONS == log.ACTIONS
