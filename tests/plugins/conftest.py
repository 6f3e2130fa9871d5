"""Plugins as pip would leave them: a module and a dist-info folder on the path."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

Install = Callable[..., Path]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty site-packages that this process, and those given PYTHONPATH, import from."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setenv("LFTREG_PLUGINS", "*")  # as a user who trusts whatever is installed
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(folder)):
            del sys.modules[name]


@pytest.fixture
def install(site: Path) -> Install:
    """Install a package: `install("lftreg-legal", source, version="0.2")`.

    Its one module is named after the package, and its entry point after what follows the dash,
    unless `entry_points` gives the text of the whole file. `requires` are what it depends on.
    """

    def install(
        package: str,
        source: str,
        version: str = "0.2",
        entry_points: str | None = None,
        requires: tuple[str, ...] = (),
    ) -> Path:
        module = package.replace("-", "_")
        (site / f"{module}.py").write_text(source, encoding="utf-8")
        info = site / f"{module}-{version}.dist-info"
        info.mkdir()
        needs = "".join(f"Requires-Dist: {requirement}\n" for requirement in requires)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n{needs}")
        if entry_points is None:
            entry_points = f"[lftreg]\n{package.partition('-')[2]} = {module}\n"
        (info / "entry_points.txt").write_text(entry_points)
        importlib.invalidate_caches()
        return site / f"{module}.py"

    return install


def domain(*names: str) -> str:
    """The source of a plugin that gives domains of these names."""
    return f"""
from lftreg import Domain, Example, hookimpl

def build(split, seed):
    return [Example.pair(f"{{split}} question", "answer")]

@hookimpl
def lftreg_domains():
    for name in {names!r}:
        yield Domain(name, "of " + __name__, build)
"""
