"""Broken plugins under the real command: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .conftest import Install, domain

BROKEN = "print('hello from legal')\nimport legalbench\n"


Lftreg = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def lftreg(site: Path, tmp_path: Path) -> Lftreg:
    """Run the command where the packages of `site` are installed."""
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(site), *filter(None, [os.environ.get("PYTHONPATH")])]),
        "XDG_CONFIG_HOME": str(tmp_path / "user"),
        "OMP_NUM_THREADS": "1",
    }

    def run(*words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "lftreg", *words],
            env=environment | more,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


def test_a_broken_plugin_warns_on_stderr_and_changes_nothing_else(lftreg: Lftreg, install: Install) -> None:
    install("lftreg-legal", BROKEN)
    install("lftreg-medical", domain("medical"))
    done = lftreg("domains", "--json")
    assert done.returncode == 0
    assert {row["name"] for row in json.loads(done.stdout)} == {
        "code_generation",
        "creative_writing",
        "customer_support",
        "financial_advisor",
        "medical",
    }
    warning = "plugin 'legal' (lftreg-legal 0.2) did not load: No module named 'legalbench'"
    assert warning in done.stderr
    done = lftreg("domains")
    assert done.returncode == 0
    assert "hello" not in done.stdout
    said = " ".join(done.stderr.split())
    assert f"warning: {warning} run: lftreg plugins check legal" in said


@pytest.mark.parametrize(("words", "more"), [(("--no-plugins",), {}), ((), {"LFTREG_PLUGINS_OFF": "legal"})])
def test_a_broken_plugin_can_be_left_out(
    lftreg: Lftreg, install: Install, words: tuple[str, ...], more: dict[str, str]
) -> None:
    install("lftreg-legal", BROKEN)
    done = lftreg("domains", "-q", *words, **more)
    assert done.returncode == 0
    assert done.stderr == ""


def test_commands_that_need_no_plugin_import_none(lftreg: Lftreg, install: Install, tmp_path: Path) -> None:
    install("lftreg-legal", f"open({str(tmp_path / 'imported')!r}, 'w').close()\n" + domain("legal"))
    for words in (("--help",), ("list",), ("tag", "--help"), ("--version",)):
        assert lftreg(*words).returncode == 0
        assert not (tmp_path / "imported").exists(), words
    assert lftreg("domains").returncode == 0
    assert (tmp_path / "imported").exists()


def test_what_is_missing_because_a_plugin_broke_says_so(lftreg: Lftreg, install: Install) -> None:
    install("lftreg-legal", "raise SystemExit(9)")
    done = lftreg("train", "legl", "--json")
    assert done.returncode == 3
    assert done.stdout == ""
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "unknown-domain"
    assert error["message"] == "unknown domain 'legl'. Did you mean 'legal'? (1 plugin failed to load)"
    assert error["hint"] == "run: lftreg plugins check legal"


def test_check_finds_what_is_wrong_with_a_plugin(lftreg: Lftreg, install: Install) -> None:
    install("lftreg-legal", BROKEN)
    install("lftreg-leaky", domain("leaky").replace('f"{split} question"', '"same question"'))
    done = lftreg("plugins", "check", "legal")
    assert done.returncode == 6
    assert "No module named 'legalbench'" in done.stdout + done.stderr
    done = lftreg("plugins", "check", "leaky")
    assert done.returncode == 6
    assert "in both train and validation" in " ".join((done.stdout + done.stderr).split())
    assert lftreg("plugins", "check", "families").returncode == 0
