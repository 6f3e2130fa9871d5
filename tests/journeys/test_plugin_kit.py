"""Plugins as their authors make them: installed by pip beside the wheel, tested by their own tests, trained."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from .empty import CHECKOUT, Empty

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

EXAMPLE = CHECKOUT / "examples" / "lftreg-recipes"
PAGE = CHECKOUT / "docs" / "plugins.md"


def told(page: str) -> Iterator[tuple[str, str]]:
    """What a page says to do, in its order: ("run", line of a console) and (file, the Python of it).

    Python that is said to stand in no file is a package of its own: tests/plugins/test_docs.py installs it.
    """
    for before, language, text in re.findall(r"([^\n]*)\n\n```(console|python)\n(.*?)```", page, re.DOTALL):
        if language == "console":
            yield from (("run", line[2:]) for line in text.splitlines() if line.startswith("$ "))
        else:
            yield from ((file, text) for file in re.findall(r"`([\w/]+\.py)`", before))


def few_steps(line: str) -> str:
    """The line as it is, but that training ends soon."""
    return re.sub(r"^lftreg train \w+", r"\g<0> --max-steps 2", line)


def test_the_example_works_as_its_readme_says(empty: Empty, tmp_path: Path) -> None:
    folder = tmp_path / "lftreg-recipes"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("build", "*.egg-info", "__pycache__"))
    said = {line: empty.run(few_steps(line), folder) for _, line in told((folder / "README.md").read_text())}
    assert "recipes" in said["lftreg domains"]
    assert "gptj" in said["lftreg targets"]
    assert "4 passed" in said["python -m pytest"]
    assert said['lftreg generate recipes "How do I stop a cut avocado from going brown?"'].strip()
    assert json.loads(empty.run("lftreg plugins check recipes --json", folder)) == {
        "checked": 1,
        "problems": [],
    }
    (made,) = json.loads(empty.run("lftreg list --json", folder))
    assert (made["ref"], made["domain"]) == ("recipes@1", "recipes")


def test_the_example_is_one_short_module() -> None:
    (module,) = EXAMPLE.glob("src/*/*.py")
    assert len(module.read_text().splitlines()) <= 40


def test_the_page_leads_from_nothing_to_a_wheel(empty: Empty, tmp_path: Path) -> None:
    """Every block of docs/plugins.md in its order, and the tests that `plugins new` wrote before they are replaced."""
    said: dict[str, str] = {}
    for what, text in told(PAGE.read_text()):
        if what == "run":
            said[text] = empty.run(few_steps(text), tmp_path)
            continue
        file = tmp_path / "lftreg-tavern" / what
        assert file.exists(), what
        if what.startswith("src/"):
            assert "2 passed" in empty.run("python -m pytest lftreg-tavern", tmp_path)
            assert (tmp_path / "lftreg-tavern" / "README.md").read_text().count("tavern") > 3
        file.write_text(text)
    assert len(said) >= 15
    assert "2 passed" in said["python -m pytest lftreg-tavern"]
    assert "opt" in said["lftreg targets"]
    assert [wheel.name for wheel in (tmp_path / "dist").iterdir()] == ["lftreg_tavern-0.1-py3-none-any.whl"]
    refs = [row["ref"] for row in json.loads(empty.run("lftreg list --all --json", tmp_path))]
    assert sorted(refs) == ["tavern@1", "tavern@2"]


def test_the_readme_of_a_new_plugin_is_right(empty: Empty, tmp_path: Path) -> None:
    empty.run("lftreg plugins new workshop", tmp_path)
    folder = tmp_path / "lftreg-workshop"
    said = {line: empty.run(few_steps(line), folder) for _, line in told((folder / "README.md").read_text())}
    assert "2 passed" in said["python -m pytest"]
    assert len(said) == 6
