"""A hub on this machine with two people, and a client that is sent to it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lftreg.models.base import find_base
from lftreg.registry import Base, Registry, Version
from tests.hub.server import Hub, serve
from tests.hub.sharing import LITTLE, make, registry_at
from tests.hub.state import State, User

TOKEN = "hf_CanaryCanaryCanaryCanary0123456789"
OTHER = "hf_SomebodyElsesTokenSomebodyElse0001"
READER = "hf_OnlyForReadingOnlyForReading00002"


def people() -> dict[str, User]:
    return {
        TOKEN: User("anna", ("our-desk",)),
        OTHER: User("berta", ("their-desk",)),
        READER: User("anna", ("our-desk",), may_write=False),
    }


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Hub]:
    """A hub, to which HF_ENDPOINT and a token of anna's point."""
    for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    with serve(State(users=people())) as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        yield hub


def fill_cache(cache: Path, model: Path) -> None:
    """Put a model into a cache of the hub under the little base's name."""
    commit = "1" * 40
    cached = cache / f"models--{LITTLE.replace('/', '--')}"
    (cached / "refs").mkdir(parents=True)
    (cached / "refs" / "main").write_text(commit)
    shutil.copytree(model, cached / "snapshots" / commit)


@pytest.fixture
def cache(tmp_path: Path, tiny_llama: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the hub that holds the little base."""
    import huggingface_hub.constants

    folder = tmp_path / "hf" / "hub"
    fill_cache(folder, tiny_llama)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(folder))
    return folder


@pytest.fixture
def base(cache: Path) -> Base:
    return find_base(LITTLE).record


@pytest.fixture
def mine(tmp_path: Path, base: Base) -> Registry:
    return registry_at(tmp_path / "mine", base)


@pytest.fixture
def theirs(tmp_path: Path, base: Base) -> Registry:
    return registry_at(tmp_path / "theirs", base)


@pytest.fixture
def version(mine: Registry, tmp_path: Path, base: Base) -> Version:
    return make(mine, tmp_path / "made", base=base)
