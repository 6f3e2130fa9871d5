"""The wheel by itself: built, installed into an empty environment, used outside the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(CHECKOUT)],
        check=True,
        capture_output=True,
    )
    (built,) = folder.glob("lftreg-*.whl")
    return built


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment that has the wheel, and this one's other packages."""
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run(
        [python, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", str(wheel)],
        check=True,
        capture_output=True,
    )
    (site,) = (folder / "lib").glob("python*/site-packages")
    # A path line alone: the editable install's own .pth over there is not followed.
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return python


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for needed in (
        "lftreg/py.typed",
        "lftreg/starter/model.safetensors",
        "lftreg/starter/tokenizer.json",
        "lftreg/starter/chat_template.jinja",
        "lftreg/starter/README.md",
        "lftreg/migrations/env.py",
        "lftreg/migrations/script.py.mako",
        "lftreg/plugins/builtin/customer_support/returns.toml",
    ):
        assert needed in names
    assert any(name.startswith("lftreg/migrations/versions/") for name in names)
    assert any(
        name.startswith("lftreg/plugins/builtin/financial_advisor/") and name.endswith(".toml")
        for name in names
    )
    assert not [name for name in names if not name.startswith(("lftreg/", "lftreg-"))]


def test_it_trains_outside_the_checkout(python: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    environment |= {"LFTREG_HOME": str(tmp_path / "home"), "HF_HUB_OFFLINE": "1"}

    def lftreg(*words: str) -> str:
        done = subprocess.run(
            [python, "-m", "lftreg", *words],
            cwd=tmp_path, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = subprocess.run(
        [python, "-c", "import lftreg; print(lftreg.__file__)"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert str(CHECKOUT) not in where
    made = json.loads(lftreg("train", "customer_support", "--max-steps", "3", "--json"))
    assert made["ref"] == "customer_support@1"
    assert "customer_support@1" in lftreg("list")
