"""A stranger's package beside lftreg: found by its entry point, and never able to break a command."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import Lftreg

GOOD = """
from lftreg import Domain, Example, hookimpl

def build(split, seed):
    return [Example.pair(f"{split} {number}?", "Yes.", seen=split != "test") for number in range(3)]

@hookimpl
def lftreg_domains():
    yield Domain("legal", "Contracts in plain words.", build)
"""
RESTLESS = GOOD.replace("range(3)", "__import__('random').sample(range(100), 3)")


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A folder in which a package `lftreg-legal` is installed, its module yet to be written."""
    info = tmp_path / "site" / "lftreg_legal-0.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lftreg-legal\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[lftreg]\nlegal = legal_plugin\n")
    return tmp_path / "site"


def test_a_plugin_is_listed_and_keeps_the_rules(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text(GOOD)
    path = str(package)
    found = {entry["name"]: entry for entry in lftreg("domains", "--json", PYTHONPATH=path).document}
    assert found["legal"]["distribution"] == "lftreg-legal 0.2"
    listed = {entry["name"]: entry for entry in lftreg("plugins", "--json", PYTHONPATH=path).document}
    assert (listed["legal"]["state"], listed["legal"]["domains"]) == ("loaded", ["legal"])
    assert lftreg("plugins", "check", "legal", PYTHONPATH=path).err == "1 plugin keeps the rules\n"


def test_a_broken_plugin_is_a_warning_with_its_reason(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text("import legalbench_that_is_not_here\n")
    path = str(package)
    done = lftreg("domains", PYTHONPATH=path)
    assert "customer_support" in done.out
    assert done.err == (
        "warning: plugin 'legal' (lftreg-legal 0.2) did not load: No module named\n"
        "         'legalbench_that_is_not_here'\n"
        "    run: lftreg plugins check legal\n"
    ) or done.err.startswith("warning: plugin 'legal' (lftreg-legal 0.2) did not load: No module named")
    in_json = lftreg("domains", "--json", PYTHONPATH=path)
    assert in_json.document
    assert in_json.err.startswith("warning: plugin 'legal'")
    assert (
        lftreg("plugins", "check", "legal", "--json", PYTHONPATH=path, code=6)
        .error["message"]
        .startswith("legal: ")
    )
    assert "Traceback" in lftreg("plugins", "check", "legal", "-v", PYTHONPATH=path, code=6).err
    assert lftreg("list", PYTHONPATH=path).err.count("warning") == 0  # it asks no plugin


@pytest.mark.parametrize("variables", [{"LFTREG_PLUGINS_OFF": "legal"}, {}])
def test_plugins_can_be_left_out(lftreg: Lftreg, package: Path, variables: dict[str, str]) -> None:
    (package / "legal_plugin.py").write_text("raise SystemExit('no')\n")
    words = ("domains",) if variables else ("domains", "--no-plugins")
    assert lftreg(*words, PYTHONPATH=str(package), **variables).err == ""


def test_a_plugin_that_prints_does_not_spoil_the_document(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text("print('hello')\n" + GOOD)
    assert lftreg("domains", "--json", PYTHONPATH=str(package)).document


def test_check_finds_a_domain_that_breaks_a_rule(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text(RESTLESS)
    done = lftreg("plugins", "check", "legal", PYTHONPATH=str(package), code=6)
    assert "gives other train examples for the same seed" in done.out
