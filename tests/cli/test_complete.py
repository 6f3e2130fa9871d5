"""Completion as the shells ask for it; for bash, as a person presses Tab."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from lftreg.cli.main import STUBS
from tests.cli.conftest import Lftreg, Publish

Tab = Callable[[str], str]


@pytest.fixture
def tab(environment: dict[str, str], tmp_path: Path) -> Iterator[Tab]:
    """What becomes of a line when Tab is pressed, in a real bash."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
    shell = pexpect.spawn(
        "bash",
        ["--norc", "--noprofile", "-i"],
        env=environment | {"PATH": path, "TERM": "dumb", "PS1": "> "},
        cwd=str(tmp_path),
        encoding="utf-8",
        timeout=30,
        dimensions=(50, 200),
    )
    shell.sendline('bind \'set bell-style none\'; bind -x \'"\\C-g": printf "\\n[%s]\\n" "$READLINE_LINE"\'')
    shell.sendline('eval "$(lftreg completion bash)"; echo rea""dy')
    shell.expect("ready")

    def press(line: str) -> str:
        shell.send(f"{line}\t\x07")
        shell.expect(r"\r?\n\[([^\]]*)\]")
        assert shell.match is not None
        completed = str(shell.match.group(1))
        shell.send("\x15")
        return completed

    yield press
    shell.close(force=True)


def test_bash_completes_commands_and_options(tab: Tab) -> None:
    assert tab("lftreg linea") == "lftreg lineage "
    assert tab("lftreg db upg") == "lftreg db upgrade "
    assert tab("lftreg list --remo") == "lftreg list --removed "
    assert tab("lftreg completion ba") == "lftreg completion bash "
    assert tab("lftreg config set data") == "lftreg config set database_url "


def test_bash_completes_names_that_it_would_break_apart(tab: Tab, publish: Publish) -> None:
    from lftreg.paths import Home
    from lftreg.registry import Registry

    publish("support-desk")
    publish("finance")
    with Registry(Home(Path(os.environ["LFTREG_HOME"]))) as registry:
        registry.alias("support-desk", "prod")
    assert tab("lftreg show sup") == "lftreg show support-desk "
    assert tab("lftreg show support-desk@p") == "lftreg show support-desk@prod "
    assert tab("lftreg show support-desk@1") == "lftreg show support-desk@1 "
    assert tab("lftreg tag finance a=b --re") == "lftreg tag finance a=b --remove "


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_every_shell_has_a_script(lftreg: Lftreg, shell: str) -> None:
    script = lftreg("completion", shell).out
    assert f"_LFTREG_COMPLETE={shell}_complete" in script
    assert lftreg("completion", shell, "--json").document["script"] == script


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_are_answered(lftreg: Lftreg, shell: str) -> None:
    word = "1" if shell == "zsh" else "sho"
    done = lftreg(_LFTREG_COMPLETE=f"{shell}_complete", COMP_WORDS="lftreg sho", COMP_CWORD=word)
    assert "show" in done.out
    assert next(stub.help for stub in STUBS if stub.name == "show") in done.out


def test_a_broken_registry_only_means_no_suggestions(lftreg: Lftreg, home: Path) -> None:
    home.mkdir()
    (home / "registry.db").write_bytes(b"not a database" * 100)
    done = lftreg(_LFTREG_COMPLETE="bash_complete", COMP_LINE="lftreg show s")
    assert (done.out.strip(), done.err) == ("", "")
