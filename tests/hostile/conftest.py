"""A home that knows two bases of the same shapes, and a place to be hostile in."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import Once, save_tiny


@dataclass(frozen=True, slots=True)
class Site:
    """Where an input lies, the home that should refuse it, and the bases known there."""

    folder: Path
    home: Path
    base: Path
    twin: Path


@pytest.fixture(scope="session")
def bases(once: Once, tiny_llama: Path) -> tuple[Path, Path, Path]:
    """The home, the tiny llama, and its twin: other weights of the same shapes."""
    from lftreg.models.base import find_base
    from lftreg.paths import Home
    from lftreg.registry import Registry

    def twin(folder: Path) -> None:
        save_tiny("llama", folder, rms_norm_eps=1e-5)

    other = once("twin-llama", twin)

    def know(folder: Path) -> None:
        with Registry(Home(folder / "home")) as registry:
            for base in (tiny_llama, other):
                find_base(str(base), registry)

    return once("hostile-home", know) / "home", tiny_llama, other


@pytest.fixture
def site(bases: tuple[Path, Path, Path], tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> Site:
    known, base, twin = bases
    shutil.copytree(known, home)
    place = tmp_path / "input"
    place.mkdir()
    (place / "twin").write_text(str(twin))
    (tmp_path / "path").mkdir()
    (tmp_path / "path" / "evil_payload.py").write_text("raise SystemExit('imported')")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "path"), prepend=":")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "config"))
    return Site(place / "adapter", home, base, twin)
