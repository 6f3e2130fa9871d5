"""A stranger's package beside lftreg: found by its entry point, and never able to break a command."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path

import pytest

from lftreg.plugins import new
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


def first(folder: Path) -> str:
    """PYTHONPATH with a folder before what is there already."""
    return os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])


@pytest.fixture
def package(tmp_path: Path, environment: dict[str, str]) -> Path:
    """A folder in which a package `lftreg-legal` is installed and trusted, its module yet to be written."""
    environment["LFTREG_PLUGINS"] = "lftreg_legal"
    info = tmp_path / "site" / "lftreg_legal-0.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: lftreg-legal\nVersion: 0.2\n")
    (info / "entry_points.txt").write_text("[lftreg]\nlegal = legal_plugin\n")
    return tmp_path / "site"


def test_a_plugin_is_listed_and_keeps_the_rules(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text(GOOD)
    path = first(package)
    found = {entry["name"]: entry for entry in lftreg("domains", "--json", PYTHONPATH=path).document}
    assert found["legal"]["distribution"] == "lftreg-legal 0.2"
    listed = {entry["name"]: entry for entry in lftreg("plugins", "--json", PYTHONPATH=path).document}
    assert (listed["legal"]["state"], listed["legal"]["domains"]) == ("loaded", ["legal"])
    assert lftreg("plugins", "check", "legal", PYTHONPATH=path).err == "1 plugin keeps the rules\n"


def test_a_stranger_s_plugin_is_off_until_it_is_enabled(
    lftreg: Lftreg, package: Path, environment: dict[str, str], tmp_path: Path
) -> None:
    """77-shadowing and 76-raising cost nothing until the user lists the package; who it is can be seen before."""
    del environment["LFTREG_PLUGINS"]
    (package / "legal_plugin.py").write_text("raise SystemExit('76: I run')")
    with (package / "lftreg_legal-0.2.dist-info" / "METADATA").open("a") as file:
        file.write("Author: A. Stranger\n")
    path = first(package)
    done = lftreg("plugins", "--json", PYTHONPATH=path)
    (row,) = [row for row in done.document if row["name"] == "legal"]
    assert (row["state"], row["author"], row["module"]) == ("not enabled", "A. Stranger", "legal_plugin")
    assert "I run" not in done.err and "legal" not in lftreg("domains", PYTHONPATH=path).out
    told = lftreg("plugins", PYTHONPATH=path).err
    assert "legal (lftreg-legal 0.2, by A. Stranger): lftreg plugins enable legal" in " ".join(told.split())
    error = lftreg("train", "legal", "--json", code=3, PYTHONPATH=path).error
    assert (error["code"], error["hint"][:28]) == ("unknown-domain", "lftreg plugins enable legal,")
    assert (
        lftreg("plugins", "check", "legal", "--json", code=2, PYTHONPATH=path).error["code"]
        == "plugin-not-enabled"
    )

    (package / "legal_plugin.py").write_text(GOOD)
    assert lftreg("plugins", "enable", "legal", "--json", PYTHONPATH=path).document["enabled"] is True
    assert "legal" in lftreg("domains", PYTHONPATH=path).out
    assert 'plugins = ["lftreg-legal"]' in (tmp_path / "user" / "lftreg" / "config.toml").read_text()
    lftreg("plugins", "disable", "lftreg-legal", PYTHONPATH=path)
    assert "legal" not in lftreg("domains", PYTHONPATH=path).out


def test_a_project_cannot_enable_plugins(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "lftreg.toml").write_text('plugins = ["lftreg-legal"]\n')
    assert lftreg("domains", "--json", code=2).error["code"] == "plugins-of-a-project"
    (tmp_path / "lftreg.toml").unlink()
    lftreg("config", "set", "plugins", "lftreg-legal", "--project", code=2)


def test_a_broken_plugin_is_a_warning_with_its_reason(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text("import legalbench_that_is_not_here\n")
    path = first(package)
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
    assert lftreg(*words, PYTHONPATH=first(package), **variables).err == ""


def test_a_plugin_that_prints_does_not_spoil_the_document(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text("print('hello')\n" + GOOD)
    assert lftreg("domains", "--json", PYTHONPATH=first(package)).document


def test_check_finds_a_domain_that_breaks_a_rule(lftreg: Lftreg, package: Path) -> None:
    (package / "legal_plugin.py").write_text(RESTLESS)
    done = lftreg("plugins", "check", "legal", PYTHONPATH=first(package), code=6)
    assert "gives other train examples for the same seed" in done.out


def test_a_new_plugin_is_a_package_that_keeps_the_rules(lftreg: Lftreg, tmp_path: Path) -> None:
    """As it is written, without pip; `tests/journeys/test_plugin_kit.py` installs it."""
    made = lftreg("plugins", "new", "my.desk-2", "--json").document
    folder = tmp_path / "lftreg-my.desk-2"
    module = "src/lftreg_my_desk_2"
    assert made == {
        "path": str(folder),
        "package": "lftreg-my.desk-2",
        "files": [
            "pyproject.toml",
            "README.md",
            "LICENSE",
            f"{module}/__init__.py",
            f"{module}/facts.toml",
            "tests/test_lftreg_my_desk_2.py",
        ],
    }
    assert sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()) == sorted(
        made["files"]
    )
    for file in made["files"]:
        text = (folder / file).read_text()
        assert "{{" not in text, file
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["dependencies"] == ["lftreg>=0.1"]
    assert project["entry-points"] == {"lftreg": {"my.desk-2": "lftreg_my_desk_2"}}

    info = folder / "src" / "lftreg_my.desk_2-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: lftreg-my.desk-2\nVersion: 0.1\nRequires-Dist: lftreg>=0.1\n"
    )
    (info / "entry_points.txt").write_text("[lftreg]\nmy.desk-2 = lftreg_my_desk_2\n")
    path = first(folder / "src")
    lftreg("plugins", "enable", "my.desk-2", PYTHONPATH=path)
    assert lftreg("plugins", "check", "my.desk-2", PYTHONPATH=path).err == "1 plugin keeps the rules\n"
    lftreg("plugins", "new", "my.desk-2", "--output", "again", PYTHONPATH=path)  # the name is its own


def test_a_new_plugin_says_where_it_is(lftreg: Lftreg, tmp_path: Path) -> None:
    assert lftreg("plugins", "new", "legal", "--quiet").out == f"{tmp_path / 'lftreg-legal'}\n"
    done = lftreg("plugins", "new", "medical", "--output", "./deep/desk")
    assert done.out == ""
    assert done.err.startswith(f"wrote lftreg-medical to {tmp_path / 'deep' / 'desk'}: pyproject.toml,")


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("Legal", "invalid-name"),
        ("legal-", "invalid-name"),
        ("../legal", "invalid-name"),
        ("", "invalid-name"),
        ("a" * 65, "invalid-name"),
        ("lftreg-legal", "invalid-name"),
        ("customer_support", "name-taken"),
        ("methods", "name-taken"),
    ],
)
def test_a_new_plugin_needs_a_name_of_its_own(lftreg: Lftreg, tmp_path: Path, name: str, code: str) -> None:
    before = sorted(tmp_path.iterdir())
    done = lftreg("plugins", "new", name, "--json", code=2)
    assert done.out == ""
    assert done.error["code"] == code
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("kind", ["folder", "file", "empty"])
def test_a_new_plugin_overwrites_nothing(lftreg: Lftreg, tmp_path: Path, kind: str) -> None:
    there = tmp_path / "lftreg-legal"
    if kind == "file":
        there.write_text("mine")
    else:
        there.mkdir()
    if kind == "folder":
        (there / "pyproject.toml").write_text("mine")
    done = lftreg("plugins", "new", "legal", "--json", code=2)
    assert done.error == {
        "code": "exists",
        "message": f"{there} is there already",
        "hint": "choose another with --output",
    }
    assert [p.read_text() for p in (there, *there.glob("*")) if p.is_file()] == ["mine"] * (kind != "empty")


def test_a_new_plugin_that_cannot_be_written_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(new.FILES, "nothing.in", "nothing")
    with pytest.raises(FileNotFoundError):
        new.write_plugin("legal", tmp_path / "lftreg-legal")
    assert list(tmp_path.iterdir()) == []
