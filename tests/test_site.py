"""The site builds without a link that leads nowhere, asks nobody for anything, and its tables are those of the code."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from lftreg.data.formats import READERS
from lftreg.data.shapes import ROLES
from lftreg.plugins.host import Host
from lftreg.training.settings import EPOCHS, FEWEST_STEPS, LEARNING_RATES, Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `make site` builds. A link or an anchor that leads nowhere is a warning there, and fails."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "--site-dir", folder],
        cwd=ROOT, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def rows(page: str, title: str) -> list[list[str]]:
    """The rows of the table whose first column has this title."""
    text = (DOCS / page).read_text(encoding="utf-8")
    (found,) = re.findall(rf"^\| {re.escape(title)} \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", text, re.MULTILINE)
    return [[cell.strip() for cell in row.strip("|").split(" | ")] for row in found.splitlines()]


@pytest.mark.slow
def test_every_page_is_built_and_can_be_searched(site: Path) -> None:
    built = {page.stem for page in site.glob("*.html")}
    assert {page.stem for page in DOCS.glob("*.md")} <= built
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "Gradient checkpointing" in index


@pytest.mark.slow
def test_the_site_asks_nobody_for_anything(site: Path) -> None:
    for page in site.glob("*.html"):
        text = page.read_text(encoding="utf-8")
        asked = re.findall(r"<(?:script|img|link|iframe)[^>]*(?:src|href)=\"?(?:https?:)?//[^>]*", text)
        assert not asked, page
    for style in site.rglob("*.css"):
        assert "url(http" not in style.read_text(encoding="utf-8"), style


def test_the_families_are_those_of_the_code() -> None:
    told = {row[0]: (row[1], row[2].replace("\\*", "*")) for row in rows("own-base.md", "family")}
    built_in = {name: entry.value for name, entry in Host(off=(), external=False).targets().items()}
    assert told == {
        name: (", ".join(family.model_types), ", ".join(family.presets["all-linear"]))
        for name, family in built_in.items()
    }


def test_the_learning_rates_are_those_of_the_code() -> None:
    sizes = {"M": 1e6, "B": 1e9}
    told = []
    for size, rate in rows("own-base.md", "base, up to"):
        number = re.match(r"(\d+) ([MB])", size)
        told.append((float(number[1]) * sizes[number[2]] if number else float("inf"), float(rate)))
    assert tuple(told) == LEARNING_RATES


def test_the_columns_and_formats_are_those_of_the_code() -> None:
    columns = " ".join(row[1] for row in rows("own-data.md", "shape"))
    assert set(re.findall(r"`(\w+)`", columns)) == {name for names in ROLES.values() for name in names} - {
        "split",
        "test",
        "tests",
        "entry_point",
        "asserts",
        "fact",
        "paraphrases",
    } | {"role", "content", "from", "value"}
    formats = " ".join(row[0] for row in rows("own-data.md", "file"))
    assert set(re.findall(r"`(\.\w+)`", formats)) == set(READERS)


def test_what_pages_say_of_defaults_is_so() -> None:
    settings = Settings()
    assert (settings.patience, FEWEST_STEPS, EPOCHS[0][0]) == (2, 60, 200)
    assert "after two validations" in (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
    assert "below sixty" in (DOCS / "troubleshooting.md").read_text(encoding="utf-8")
