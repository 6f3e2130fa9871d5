"""A folder that several people see, as a remote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from lftreg.errors import InvalidData, InvalidReference, LftregError, NotFound, UsageError
from lftreg.registry import Base
from lftreg.remotes.sharing import Place, parse_place
from tests.hub.conftest import base, cache  # noqa: F401 fixtures
from tests.hub.sharing import FILES, make, pull, push, registry_at


def test_a_folder_is_shared_by(tmp_path: Path, base: Base) -> None:  # noqa: F811
    mine, theirs = registry_at(tmp_path / "mine", base), registry_at(tmp_path / "theirs", base)
    one, two = (make(mine, tmp_path / "made", seed=seed, base=base) for seed in (0, 1))
    place = f"folder:{tmp_path / 'srv' / 'support'}"
    sent = push(mine, one, place)
    folder = tmp_path / "srv" / "support"
    assert not sent.unchanged and {path.name for path in folder.iterdir()} >= FILES
    assert sent.transferred == sum((folder / name).stat().st_size for name in FILES)
    again = push(mine, one, place)
    assert again.unchanged and again.transferred == 0 and again.commit == sent.commit
    first = pull(theirs, place)
    assert first.version.digest == one.digest and first.version.name == "support"
    assert pull(theirs, place).unchanged
    push(mine, two, place)
    assert pull(theirs, place).version.digest == two.digest
    other = make(theirs, tmp_path / "made", seed=2, base=base)
    (folder / "README.md").write_text("# By hand")
    with pytest.raises(LftregError) as error:
        push(theirs, other, place)
    assert error.value.code == "remote-changed" and (folder / "README.md").read_text() == "# By hand"
    push(theirs, other, place, force=True)
    assert pull(mine, place, name="theirs").version.digest == other.digest


def test_a_half_written_folder_is_noticed(tmp_path: Path, base: Base) -> None:  # noqa: F811
    mine = registry_at(tmp_path / "mine", base)
    one, two = (make(mine, tmp_path / "made", seed=seed, base=base) for seed in (0, 1))
    place = f"folder:{tmp_path / 'x'}"
    push(mine, one, place)
    (tmp_path / "x" / "adapter_model.safetensors").write_bytes(
        mine.file(two, "adapter_model.safetensors").read_bytes()
    )
    with pytest.raises(InvalidData) as error:
        pull(mine, place)
    assert error.value.code == "manifest-mismatch"


def test_links_and_fifos_do_not_come_in(tmp_path: Path, base: Base) -> None:  # noqa: F811
    mine = registry_at(tmp_path / "mine", base)
    place = f"folder:{tmp_path / 'x'}"
    push(mine, make(mine, tmp_path / "made", base=base), place)
    weights = tmp_path / "x" / "adapter_model.safetensors"
    weights.rename(tmp_path / "elsewhere")
    weights.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InvalidData):
        pull(mine, place, name="a")
    weights.unlink()
    os.mkfifo(weights)
    with pytest.raises(InvalidData):
        pull(mine, place, name="a")
    assert len(mine.list()) == 1


def test_what_a_folder_cannot_do_is_told(tmp_path: Path, base: Base) -> None:  # noqa: F811
    mine = registry_at(tmp_path / "mine", base)
    version = make(mine, tmp_path / "made", base=base)
    for options in ({"tag": "v1"}, {"private": True}, {"create_pr": True}):
        with pytest.raises(UsageError):
            push(mine, version, f"folder:{tmp_path / 'x'}", **options)
    assert not (tmp_path / "x").exists()
    with pytest.raises(NotFound):
        pull(mine, f"folder:{tmp_path / 'nowhere'}")


def test_places_are_read() -> None:
    assert parse_place("org/name") == Place("hub", "org/name")
    assert parse_place("hub:org/name@refs/pr/3") == Place("hub", "org/name", "refs/pr/3")
    assert parse_place("folder:/srv/a@b/x") == Place("folder", "/srv/a@b/x")
    assert str(parse_place("org/name@v3")) == "hub:org/name@v3"
    for wrong in ("", "org/name@", "org/name@a@b"):
        with pytest.raises(InvalidReference):
            parse_place(wrong)
