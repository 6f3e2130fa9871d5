from __future__ import annotations

import json

import pytest

from lftreg.cli.eval_view import told_to
from lftreg.cli.output import Output, clean
from lftreg.errors import NotFound, UsageError


def test_a_result_is_one_document_or_what_people_read(capsys: pytest.CaptureFixture[str]) -> None:
    Output(json=True).result(
        {"ref": "a@1", "loss": float("nan"), "of": (1.0, float("inf"))}, lambda console: None
    )
    assert json.loads(capsys.readouterr().out) == {"ref": "a@1", "loss": None, "of": [1.0, None]}
    Output().result({}, lambda console: console.print("a [bold]bracket[/] :smile: 3"))
    assert capsys.readouterr().out == "a [bold]bracket[/] :smile: 3\n"


def test_notes_are_for_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    for out in (Output(json=True), Output(quiet=True)):
        out.note("nothing")
        out.detail("nothing")
        out.next("lftreg list")
        out.finish()
    assert capsys.readouterr() == ("", "")
    Output().note("here")
    Output(verbose=True).detail("there")
    out = Output()
    out.next("lftreg list")  # no terminal, no advice
    out.finish()
    assert capsys.readouterr() == ("", "here\nthere\n")


def test_an_error_under_json_is_alone_and_takes_warnings_along(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.warn("plugin 'legal' did not load", "lftreg plugins check legal")
    out.error(NotFound("unknown domain 'legl'", "lftreg domains", code="unknown-domain"))
    assert json.loads(capsys.readouterr().err) == {
        "error": {"code": "unknown-domain", "message": "unknown domain 'legl'", "hint": "lftreg domains"},
        "warnings": ["plugin 'legal' did not load"],
    }


def test_a_warning_under_json_does_not_touch_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output(json=True)
    out.warn("careful")
    out.result([], lambda console: None)
    out.finish()
    assert capsys.readouterr() == ("[]\n", "warning: careful\n")


def test_warnings_and_errors_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    out = Output()
    out.warn("plugin 'legal' did not load", "lftreg plugins check legal")
    out.error(NotFound("gone", "look elsewhere"))
    assert capsys.readouterr() == (
        "",
        "warning: plugin 'legal' did not load\n    run: lftreg plugins check legal\n"
        "error: gone\n hint: look elsewhere\n",
    )


def test_nobody_to_ask() -> None:
    assert Output(yes=True).confirm("Really?")
    assert Output().confirm("Really?", otherwise=True)
    assert not Output().confirm("Really?", otherwise=False)
    with pytest.raises(UsageError, match="Really"):
        Output(ask=False).confirm("Really?")


def test_progress_in_a_log_is_a_line_for_every_tenth(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with Output().progress("quick", 200) as progress:
        for step in range(1, 201):
            progress.update(step)
    assert capsys.readouterr().err == ""  # done before anybody could read it
    monkeypatch.setattr("lftreg.cli.progress.SHORT", 0.0)
    with Output().progress("training", 200) as progress:
        for step in range(1, 201):
            progress.update(step, note=f"loss {step}")
        progress.line("kept")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 11
    assert lines[0] == "training 20/200 loss 20"
    assert lines[-2:] == ["training 200/200 loss 200", "kept"]


@pytest.mark.parametrize("out", [Output(json=True), Output(quiet=True)])
def test_progress_is_silent_for_scripts(out: Output, capsys: pytest.CaptureFixture[str]) -> None:
    with out.progress("training", 2) as progress:
        progress.update(2)
        progress.line("nothing")
    assert capsys.readouterr() == ("", "")


def test_clean_leaves_languages_alone() -> None:
    assert clean("Zoë 支援 🙂\tx") == "Zoë 支援 🙂\tx"
    assert clean("\x9b31m") == "\\x9b31m"


def test_progress_says_who_is_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("lftreg.cli.progress.SHORT", 0.0)
    with Output().progress("asking desk") as progress:
        tell = told_to(progress, "desk")
        for who in ("base:starter", "support", "support, losses"):
            tell(who, 34, 117)
    assert capsys.readouterr().err.splitlines() == [
        "asking desk: base 34/117", "asking desk: support 34/117", "asking desk: support, losses 34/117",
    ]  # fmt: skip
