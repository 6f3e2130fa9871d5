"""An environment outside the checkout, into which the freshly built wheel is installed by pip."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
_EXITS = re.compile(r"# exits with (\d+)")


@dataclass(frozen=True)
class Empty:
    """A folder that holds a virtual environment and the wheel in it."""

    folder: Path

    @property
    def wheel(self) -> Path:
        (built,) = self.folder.glob("lftreg-*.whl")
        return built

    def run(self, line: str, cwd: Path) -> str:
        """What a line of a shell prints, run with this environment first on the path and no network.

        It has to succeed, or to exit as its comment says: `# exits with 6`.
        """
        environment = _clean() | {
            "PATH": os.pathsep.join([str(self.folder / "bin"), os.environ["PATH"]]),
            "LFTREG_HOME": str(cwd / "home"),
            "XDG_CONFIG_HOME": str(cwd / "user"),
            "HF_HUB_OFFLINE": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "false",  # pip reads it as the value of `build isolation`
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
        }
        done = subprocess.run(
            ["bash", "-c", line], cwd=cwd, env=environment, capture_output=True, text=True, check=False
        )
        wanted = _EXITS.search(line)
        assert done.returncode == (int(wanted[1]) if wanted else 0), f"$ {line}\n{done.stdout}\n{done.stderr}"
        return done.stdout


def make_empty(folder: Path) -> Empty:
    """Make the environment in `folder`, or wait for the process that is making it."""
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "ready").exists():
            _build(folder)
            (folder / "ready").touch()
    return Empty(folder)


def _build(folder: Path) -> None:
    """The wheel alone, and then what this interpreter has: only its path, so that no `.pth` of it is followed."""
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, CHECKOUT]
    subprocess.run(build, check=True, capture_output=True)
    venv.create(folder, with_pip=True)
    for line in (
        ["install", "--quiet", "--no-deps", "--no-index", Empty(folder).wheel],
        ["uninstall", "--quiet", "--yes", "setuptools"],  # that of Python 3.11 is too old to build a package
    ):
        pip = [folder / "bin" / "python", "-m", "pip", *line]
        subprocess.run(pip, env=_clean(), check=True, capture_output=True)
    (site,) = (folder / "lib").glob("python*/site-packages")
    (site / "others.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")


def _clean() -> dict[str, str]:
    """Our variables, but for those that lead back to the checkout."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
