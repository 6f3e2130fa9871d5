"""The pages of README and docs/ as a reader goes through them: what they say to type, and what they say comes back.

A line of a ```console block that begins with `$ ` is typed. What stands below it, up to the next one, is what
the command prints, word for word; a line `...` stands for anything. Where an `error:` is shown the command has to
fail. A ```text block is output of a full run, which nobody waits for here, and is compared with nothing.

Commands run in this process, by `lftreg.cli.main.main` with the words of the line: torch and PEFT are
imported once, and not once a line.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.conftest import save_tiny

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
# Each has tests of its own, or says nothing to type.
ELSEWHERE = {"plugins.md", "commands.md", "api.md"}
FAMILIES = {"Qwen": "qwen3", "google-bert": "bert", "google-t5": "t5"}  # that of a stand-in
# nf4 on a CPU wants rows of 64; an encoder that is very sure of nonsense has something to unlearn at once.
LIKE: dict[str, dict[str, float]] = {
    "qwen3": {"hidden_size": 64, "head_dim": 16},
    "bert": {"initializer_range": 1.0},
}
# Steps of a run, where a page says nothing: on the starter each takes a while, on a stand-in none does.
# Of an evaluation a few items, and short answers.
ASKING, SHORT = ("eval", "compare"), ("--limit", "4", "--max-tokens", "8")
FEW, MORE = ("--max-steps", "2"), ("--max-steps", "12")
FIRST = ["train", "customer_support", *FEW]
FITTED = 4  # steps of a --fit, which has no option for it; tests/composer/test_fit.py takes all 40


@dataclass(frozen=True)
class Step:
    """One thing to do: a line of a console and the output shown for it, or a block of Python."""

    language: str
    text: str  # without the comment behind a command
    shown: str = ""


def steps(page: str) -> Iterator[Step]:
    for language, block in re.findall(r"^```(console|python)\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        if language == "python":
            yield Step("python", block)
            continue
        for typed, shown in re.findall(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
            yield Step("console", re.sub(r"\s+# .*", "", typed), shown)


def pages() -> list[str]:
    """The pages in the order of the site's menu, README first; only those with something to do."""
    menu = re.findall(r": (\S+\.md)$", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"), re.MULTILINE)
    told = [name for name in menu if name not in ELSEWHERE]
    return ["README.md", *(name for name in told if any(steps(read(name))))]


def read(name: str) -> str:
    return ((ROOT if name == "README.md" else DOCS) / name).read_text(encoding="utf-8")


def goes_on_from(name: str) -> str | None:
    """The page whose registry this one goes on with, where it says so."""
    found = re.search(r"goes on from \[[^]]*\]\((\S+\.md)\)", read(name))
    return found[1] if found else None


@dataclass
class Reader:
    """Somebody with a folder, a registry, a few files of their own, and some models in the hub's cache."""

    folder: Path
    patch: pytest.MonkeyPatch
    ran: list[str] = field(default_factory=list)
    stands_for: dict[str, str] = field(default_factory=dict)  # what a page names, and what it is here

    def prepare(self) -> None:
        self.folder.mkdir(exist_ok=True)
        shutil.copytree(ROOT / "examples" / "own-data", self.folder, dirs_exist_ok=True)
        self.patch.chdir(self.folder)
        self.patch.setenv("LFTREG_HOME", str(self.folder / "home"))
        self.patch.setenv("XDG_CONFIG_HOME", str(self.folder / "user"))

    def do(self, step: Step) -> None:
        """Do what a page says. Raises AssertionError where something else comes back than is shown."""
        if step.language == "python":
            self._python(step.text)
        elif step.text.startswith("export "):
            name, _, value = self._here(step.text.removeprefix("export ")).partition("=")
            self.patch.setenv(name, value)
        elif step.text.startswith("lftreg "):
            code, said = self.lftreg(shlex.split(self._here(step.text))[1:])
            for shown, real in self.stands_for.items():
                said = said.replace(real, shown)
            failing = re.search(r"^error: ", step.shown, re.MULTILINE) is not None
            assert (code != 0) == failing, f"$ {step.text}\nexit code {code}\n{said}"
            assert comes_back(step.shown, said), f"$ {step.text}\n{said}\nshown as\n{step.shown}"
        else:
            done = subprocess.run(
                ["bash", "-c", self._here(step.text)],
                cwd=self.folder,
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.returncode == 0, f"$ {step.text}\n{done.stderr}"
            assert comes_back(step.shown, done.stdout), f"$ {step.text}\n{done.stdout}"
        self.ran.append(step.text)

    def _here(self, text: str) -> str:
        for shown, real in self.stands_for.items():
            text = text.replace(shown, real)
        return text

    def lftreg(self, words: list[str]) -> tuple[int, str]:
        """Exit code and output of a command; notes and errors come before the data, as on a terminal."""
        if words[0] == "train" and not {"--dry-run", "--max-steps"} & set(words):
            words = [*words, *(MORE if "--base" in words else FEW)]
        if words[0] == "sweep":
            words = [*words, *(() if "--trials" in words else ("--trials", "2")), *FEW]
        if words[0] in ASKING and "--limit" not in words:
            words = [*words, *SHORT]
        if "--fit" in words:
            self.patch.setattr("lftreg.composer.fitting.fit.STEPS", FITTED)
        begins = words == FIRST and not (self.folder / "home").exists()
        return self._first(words) if begins else self._run(words)

    def _first(self, words: list[str]) -> tuple[int, str]:
        """What several pages begin with: where there is nothing yet, it leaves and says the same for all of them."""
        home, kept = self.folder / "home", self.folder.parent / "first"
        if not kept.exists():
            code, said = self._run(words)
            assert code == 0, said
            shutil.copytree(home, kept / "home")
            (kept / "said").write_text(said, encoding="utf-8")
            return code, said
        shutil.copytree(kept / "home", home)
        return 0, (kept / "said").read_text(encoding="utf-8")

    def _run(self, words: list[str]) -> tuple[int, str]:
        from lftreg.cli.main import main

        out, err = io.StringIO(), io.StringIO()
        self.patch.setattr(sys, "argv", ["lftreg", *words])
        self.patch.setattr(sys, "stdin", io.StringIO())
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main()
        return code, err.getvalue() + out.getvalue()

    def _python(self, code: str) -> None:
        short = re.sub(r"\b(train\([^)]*)\)", r"\1, max_steps=2)", code)
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            exec(compile(short, "a page", "exec"), {"__name__": "__main__"})
        assert out.getvalue().strip(), code


def comes_back(shown: str, said: str) -> bool:
    """Whether output is what a page shows, wherever either of them breaks its lines."""
    if not shown.strip():
        return True
    parts = [" ".join(part.split()) for part in re.split(r"^\.\.\.$|…", shown, flags=re.MULTILINE)]
    pattern = r".*?".join(rf"\s?{re.escape(part)}\s?" for part in parts)
    return re.fullmatch(pattern, " ".join(said.split())) is not None


def fill_cache(cache: Path) -> None:
    """Stand-ins for every hub model that a page names after --base or `targets`: small, and of its family."""
    typed = " ".join(step.text for name in pages() for step in steps(read(name)))
    commit = "1" * 40
    for model in sorted(set(re.findall(r"(?:--base|lftreg targets) ([A-Za-z][\w-]*/[\w.-]+)", typed))):
        family = FAMILIES.get(model.split("/")[0])
        if family is None:  # a page that shows what happens without it
            continue
        cached = cache / f"models--{model.replace('/', '--')}"
        (cached / "refs").mkdir(parents=True)
        (cached / "refs" / "main").write_text(commit)
        snapshot = cached / "snapshots" / commit
        snapshot.mkdir(parents=True)
        save_tiny(family, snapshot, **LIKE.get(family, {}))


def clean_environment(patch: pytest.MonkeyPatch) -> None:
    """Nothing of the person who runs the tests is read."""
    theirs = ("LFTREG_", "COLUMNS", "FORCE_", "NO_COLOR")
    for name in [name for name in os.environ if name.startswith(theirs)]:
        patch.delenv(name)
