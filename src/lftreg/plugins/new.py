"""A plugin to begin with: a package that installs and keeps all rules, for its author to change.

What is written lies in `template/`, as files of a package in which `{{name}}` and the like stand
for what differs.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from lftreg import __version__
from lftreg.errors import InvalidName, UsageError

_TEMPLATE = Path(__file__).parent / "template"
# The template, and where it goes in the new package.
FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "README.md.in": "README.md",
    "LICENSE.in": "LICENSE",
    "plugin.py.in": "src/{{module}}/__init__.py",
    "facts.toml.in": "src/{{module}}/facts.toml",
    "test_plugin.py.in": "tests/test_{{module}}.py",
}
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,62}[a-z0-9])?")  # of a domain, and of a package behind a dash


def package_of(name: str) -> str:
    """The package that a plugin called `name` comes in. Raises InvalidName."""
    if not _NAME.fullmatch(name):
        raise InvalidName(
            f"{name!r} cannot name a plugin",
            "it must be a-z, 0-9, dot, dash or underscore, 64 at most, and start and end with a letter or digit",
        )
    if name.startswith(("lftreg-", "lftreg_", "lftreg.")):
        raise InvalidName(
            f"the package of {name!r} would be lftreg-{name}",
            f"give the name without lftreg: {name[len('lftreg-') :]}",
        )
    return f"lftreg-{name}"


def write_plugin(name: str, folder: Path) -> list[str]:
    """Make `folder` and write a package into it. Returns its files, as paths inside it.

    Raises InvalidName, or UsageError where something has the folder's name already.
    """
    words = {
        "{{name}}": name,
        "{{package}}": package_of(name),
        "{{module}}": re.sub(r"[.-]", "_", package_of(name)),
        "{{lftreg}}": ".".join(__version__.split(".")[:2]),
    }
    try:
        folder.mkdir(parents=True)
    except FileExistsError as error:
        raise UsageError(
            f"{folder} is there already", "choose another with --output", code="exists"
        ) from error
    try:
        return [_write(source, folder, _filled(place, words), words) for source, place in FILES.items()]
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # half a package is worse than none
        raise


def _write(source: str, folder: Path, place: str, words: dict[str, str]) -> str:
    target = folder / place
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(_filled((_TEMPLATE / source).read_text(encoding="utf-8"), words), encoding="utf-8")
    return place


def _filled(text: str, words: dict[str, str]) -> str:
    for mark, word in words.items():
        text = text.replace(mark, word)
    return text
