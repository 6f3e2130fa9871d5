"""Broken plugins under the real command: what it prints, where, and with which exit code."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lftreg import __version__

from .conftest import Install, domain

pytestmark = pytest.mark.slow

BROKEN = "print('hello from legal')\nimport legalbench\n"
GOOD = domain("legal")
OLDER = f"was written for lftreg <0.1; this is {__version__}"
# Every way to be broken: the source, and what is said of it. Two of them are hostile inputs, and carry their numbers.
NUMBERS = {"raises at import": "76-raises-at-import", "a name that is taken": "77-shadows-a-builtin"}
KINDS = {
    "raises at import": ("raise RuntimeError('no licence')", "RuntimeError: no licence"),
    "exits at import": ("raise SystemExit(0)", "it called sys.exit(0)"),
    "no error that one would catch": ("class Stop(BaseException): pass\nraise Stop('now')", "Stop: now"),
    "a syntax error": ("def build(:\n", "SyntaxError: invalid syntax (lftreg_legal.py, line 1)"),
    "misspelt hook": (
        GOOD.replace("def lftreg_domains", "def lftreg_domain"),
        "unknown hook 'lftreg_domain'. Did you mean 'lftreg_domains'?",
    ),
    "arguments that the hook has not": (
        GOOD.replace("def lftreg_domains()", "def lftreg_domains(host)"),
        "Argument(s) {'host'} are declared in the hookimpl but can not be found in the hookspec",
    ),
    "yields half and raises": (GOOD + "    raise KeyError('rest')\n", "KeyError: 'rest'"),
    "a name that is taken": (
        GOOD.replace("'legal'", "'customer_support'"),
        f"domain 'customer_support' is already given by plugin 'customer_support' (lftreg {__version__})",
    ),
    "a value of the wrong type": (
        GOOD + "    yield {'name': 'legal2'}\n",
        "TypeError: lftreg_domains yielded a dict, not a Domain",
    ),
    "a value with a wrong field": (
        GOOD.replace('"of " + __name__', "''"),
        "ValueError: domain 'legal': it has no summary",
    ),
    "returns nothing": (
        GOOD.replace("        yield Domain", "        Domain"),
        "TypeError: lftreg_domains gave nothing (None); it must yield Domain values",
    ),
    "an older API": (GOOD, OLDER),
}


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


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: NUMBERS.get(kind, kind))
def test_a_broken_plugin_breaks_nothing(lftreg: Lftreg, install: Install, kind: str) -> None:
    """Every kind: a command that does not need it succeeds, one that does says why it cannot."""
    source, message = KINDS[kind]
    install("lftreg-legal", source, requires=("lftreg<0.1",) if kind == "an older API" else ())
    install("lftreg-medical", domain("medical"))
    done = lftreg("domains", "--json")
    assert done.returncode == 0
    names = {row["name"] for row in json.loads(done.stdout)}
    assert {"customer_support", "financial_advisor", "medical"} <= names
    assert "legal" not in names
    assert message in done.stderr
    assert "Traceback" not in done.stderr

    done = lftreg("train", "legal", "--json")
    assert (done.returncode, done.stdout) == (3, "")
    error = json.loads(done.stderr)["error"]
    assert error["message"] == "unknown domain 'legal'. (1 plugin failed to load)"
    assert error["hint"] == "run: lftreg plugins check legal"

    done = lftreg("plugins", "check", "legal", "--json")
    assert done.returncode == 6
    assert {"plugin": "legal", "message": message} in json.loads(done.stdout)["problems"]


def test_a_plugin_of_an_older_api_says_what_to_type(lftreg: Lftreg, install: Install, tmp_path: Path) -> None:
    install(
        "lftreg-legal", f"open({str(tmp_path / 'imported')!r}, 'w').close()\n{GOOD}", requires=("lftreg<0.1",)
    )
    done = lftreg("domains")
    assert done.returncode == 0
    assert f"warning: plugin 'legal' (lftreg-legal 0.2) did not load: {OLDER}" in done.stderr
    assert "    run: pip install --upgrade lftreg-legal" in done.stderr
    done = lftreg("plugins", "check")
    assert done.returncode == 6
    assert "hint: pip install --upgrade lftreg-legal" in done.stderr
    assert not (tmp_path / "imported").exists()  # not even by the check


def test_a_package_that_cannot_be_read_can_be_checked_as_its_warning_says(
    lftreg: Lftreg, install: Install, site: Path
) -> None:
    install("lftreg-legal", GOOD)
    (site / "lftreg_legal-0.2.dist-info" / "entry_points.txt").write_text("[lftreg]\nno equals sign\n")
    done = lftreg("domains")
    assert done.returncode == 0
    assert "    run: lftreg plugins check lftreg-legal" in done.stderr
    for words in ((), ("lftreg-legal",)):
        done = lftreg("plugins", "check", *words)
        assert done.returncode == 6
        assert "its entry_points.txt cannot be read" in done.stdout
