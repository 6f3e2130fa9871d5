"""Remotes of plugins: used like the built-in ones, checked, blamed, and believed in nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from lftreg.errors import InvalidData, LftregError, NotFound
from lftreg.plugins.check_remote import check_remote
from lftreg.plugins.host import Host
from lftreg.plugins.types import Patience
from lftreg.registry import Base, Registry
from lftreg.remotes import sharing
from lftreg.testing import check_plugin
from lftreg.testing import check_remote as assert_remote
from tests.hub.conftest import base, cache  # noqa: F401 fixtures
from tests.hub.sharing import make, registry_at

from .conftest import Install

SHELF = """
import hashlib, shutil
from pathlib import Path
from lftreg import Hit, Remote, Sent, Taken, hookimpl

def sha256(path): return hashlib.sha256(Path(path).read_bytes()).hexdigest()

def commit(files):
    return hashlib.sha256("".join(sorted(n + sha256(p) for n, p in files.items())).encode()).hexdigest()

def push(parcel):
    place = Path(parcel.place)
    place.mkdir(exist_ok=True)
    there = {p.name: p for p in place.iterdir()}
    if there and commit(there) == commit(parcel.files):
        return Sent(commit(there), place.as_uri(), True, 0)
    for name, path in parcel.files.items():
        shutil.copyfile(path, place / name)
    return Sent(commit(parcel.files), place.as_uri(), False, sum(p.stat().st_size for p in parcel.files.values()))

def pull(errand):
    place = Path(errand.place)
    there = {p.name: p for p in place.iterdir() if p.name in errand.wants}
    if errand.have(commit(there)):
        return Taken(commit(there), place.as_uri(), {})
    for name, path in there.items():
        shutil.copyfile(path, errand.into / name)
    return Taken(commit(there), place.as_uri(), {name: sha256(path) for name, path in there.items()})

@hookimpl
def lftreg_remotes():
    yield Remote("shelf", push, pull, lambda text, limit, patience: [Hit("shelf:/x")], help="A shelf.")
"""


def test_the_built_in_ones_are_plugins_too(tmp_path: Path) -> None:
    remotes = Host(off=(), external=False).remotes()
    assert list(remotes) == ["hub", "folder"]
    assert check_remote(remotes["folder"].value, str(tmp_path / "place")) == []


def test_a_remote_of_a_plugin_is_pushed_to_and_pulled_from(
    install: Install,
    tmp_path: Path,
    base: Base,  # noqa: F811
) -> None:
    install("lftreg-shelf", SHELF)
    check_plugin("shelf")
    host = Host(off=())
    assert_remote(host.remote("shelf"), str(tmp_path / "checked"))
    mine, theirs = registry_at(tmp_path / "mine", base), registry_at(tmp_path / "theirs", base)
    version = make(mine, tmp_path / "made", base=base)
    place = sharing.parse_place(f"shelf:{tmp_path / 'shelf'}")
    sent, _ = sharing.push(mine, version, place, host)
    assert not sent.unchanged and sharing.push(mine, version, place, host)[0].unchanged
    pulled = sharing.pull(theirs, place, host, name="theirs")
    assert pulled.version.digest == version.digest and pulled.origin["remote"] == "shelf"
    assert sharing.pull(theirs, place, host, name="theirs").unchanged
    search = host.remote("shelf").search
    assert search is not None and [hit.ref for hit in search("x", 3, Patience())] == ["shelf:/x"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("push, pull, lambda", "3, pull, lambda", "push is not a function of (parcel)"),
        ("push, pull, lambda", "push, 3, lambda", "pull is not a function of (errand)"),
        ('lambda text, limit, patience: [Hit("shelf:/x")]', "3", "search is not a function"),
        ('"A shelf."', '" "', "it has no help"),
        ('"shelf", push', '"hub", push', "remote 'hub' is already given by plugin 'remotes'"),
    ],
)
def test_a_remote_that_cannot_be_used_is_refused(install: Install, old: str, new: str, message: str) -> None:
    install("lftreg-shelf", SHELF.replace(old, new))
    host = Host(off=())
    assert list(host.remotes()) == ["hub", "folder"]
    assert message in host.faults[0].message
    with pytest.raises(NotFound):
        host.remote("shelf")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("def pull(errand):\n", "def pull(errand):\n    raise KeyError('place')\n", "KeyError: 'place'"),
        (
            "def pull(errand):\n",
            "def pull(errand):\n    return None\n",
            "it gave nothing (None), not a Taken",
        ),
    ],
)
def test_a_remote_that_fails_is_blamed(
    install: Install, registry: Registry, old: str, new: str, message: str
) -> None:
    install("lftreg-shelf", SHELF.replace(old, new))
    with pytest.raises(LftregError) as error:
        sharing.pull(registry, sharing.parse_place("shelf:/x"), Host(off=()))
    assert "remote 'shelf' of plugin 'shelf' (lftreg-shelf 0.2) failed" in error.value.message
    assert message in error.value.message


def test_a_remote_that_lies_lets_nothing_in(
    install: Install,
    tmp_path: Path,
    base: Base,  # noqa: F811
) -> None:
    lying = SHELF.replace("sha256(path) for name", '"0" * 64 for name')
    assert lying != SHELF
    install("lftreg-shelf", lying)
    host = Host(off=())
    mine = registry_at(tmp_path / "mine", base)
    place = sharing.parse_place(f"shelf:{tmp_path / 'shelf'}")
    sharing.push(mine, make(mine, tmp_path / "made", base=base), place, host)
    with pytest.raises(InvalidData) as error:
        sharing.pull(mine, place, host, name="again")
    assert error.value.code == "remote-answer" and len(mine.list()) == 1
    problems = check_remote(host.remote("shelf"), str(tmp_path / "checked"))
    assert "does not bring README.md back as it was" in problems
