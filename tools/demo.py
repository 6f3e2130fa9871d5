"""The main job, as a newcomer would type it: train two desks, compose them, ask all of them.

Run by `make demo`. Everything happens in `.demo/`, which is emptied first; nothing is downloaded.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent.parent
HOME = HERE / ".demo"
COMMANDS = (
    "train customer_support",
    "train financial_advisor",
    "compose customer_support:0.7 financial_advisor:0.3 --name advisor_desk",
)
OTHERS = ("customer_support", "financial_advisor", "advisor_desk")
PROMPTS = (
    "How long do I have to return something?",
    "What is an emergency fund for?",
)


def lftreg(line: str, *more: str) -> None:
    """Show a command, run it, and stop the demo where it fails."""
    print(f"\n$ lftreg {line}{''.join(' ' + shlex.quote(word) for word in more)}", flush=True)
    command = [sys.executable, "-m", "lftreg", *line.split(), *more]
    done = subprocess.run(command, env=os.environ | {"LFTREG_HOME": str(HOME)}, check=False)
    if done.returncode:
        sys.exit(done.returncode)


def main() -> None:
    shutil.rmtree(HOME, ignore_errors=True)
    for line in COMMANDS:
        lftreg(line)
    lftreg("generate base:starter", *PROMPTS, *(word for ref in OTHERS for word in ("--with", ref)))
    lftreg("list")
    lftreg("lineage advisor_desk")
    print(
        f"\nThe demo's registry stays in {HOME.relative_to(Path.cwd()) if HOME.is_relative_to(Path.cwd()) else HOME}:"
    )
    print("  LFTREG_HOME=.demo .venv/bin/lftreg chat advisor_desk")


if __name__ == "__main__":
    main()
