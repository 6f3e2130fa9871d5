"""Every command that README shows is run, in the order in which it is shown."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lftreg.paths import starter_folder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")


def shown() -> list[list[str]]:
    """The `$ lftreg ...` lines of README's console blocks, without comments."""
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    lines = [line[2:] for block in blocks for line in block.splitlines() if line.startswith("$ lftreg ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


@pytest.fixture(scope="module")
def cwd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the reader's own data, and a hub cache that holds the models README names."""
    folder = tmp_path_factory.mktemp("reader")
    rows = [{"prompt": f"Where is parcel {n}?", "response": f"Parcel {n} is on its way."} for n in range(60)]
    (folder / "inbox.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    commit = "1" * 40
    for model in set(re.findall(r"\b[A-Z]\w+/[\w.-]+", " ".join(word for line in shown() for word in line))):
        cached = folder / "cache" / f"models--{model.replace('/', '--')}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(commit)
        shutil.copytree(starter_folder(), cached / "snapshots" / commit)
    return folder


def test_readme_shows_commands() -> None:
    assert len(shown()) >= 15


def test_every_command_of_readme_works(cwd: Path) -> None:
    environment = os.environ | {
        "LFTREG_HOME": str(cwd / "home"),
        "HF_HUB_CACHE": str(cwd / "cache"),
        "HF_HUB_OFFLINE": "1",
    }
    for words in shown():
        if words[0] == "train" and "--dry-run" not in words:
            words = [*words, "--max-steps", "2"]
        done = subprocess.run(
            [sys.executable, "-m", "lftreg", *words],
            cwd=cwd, env=environment, input="", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"lftreg {shlex.join(words)}\n{done.stderr}"


def test_the_python_of_readme_runs(cwd: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    code = re.sub(r"(train\([^)]*)\)", r"\1, max_steps=2)", code)
    environment = os.environ | {"LFTREG_HOME": str(cwd / "python-home"), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=cwd, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
