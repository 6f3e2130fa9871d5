"""Several homes, one PostgreSQL, one folder of files: one registry."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from lftreg.errors import StorageError
from lftreg.paths import Home
from lftreg.registry import WEIGHTS, Draft, Registry
from lftreg.registry.blobs import Blobs
from tests.postgres import Postgres

Make = Callable[..., Draft]


@pytest.fixture
def team(postgres: Postgres, tmp_path: Path) -> Iterator[Callable[..., dict[str, str]]]:
    """The environment of a member: a home of their own, database and files in common."""
    name = postgres.new()
    (tmp_path / "files").mkdir()
    common = {"LFTREG_DATABASE_URL": postgres.url(name), "LFTREG_BLOBS": str(tmp_path / "files")}
    yield lambda member: os.environ | common | {"LFTREG_HOME": str(tmp_path / member)}
    postgres.drop(name)


def put(blobs: Blobs, content: bytes) -> str:
    """Store a content, as registering it does."""
    with blobs.staging() as stage:
        blob = stage.put_bytes(content)
        blobs.place([blob])
    return blob.sha256


def lftreg(environment: dict[str, str], *words: str) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-m", "lftreg", *words, "--json"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout)
    return found


@pytest.mark.slow
def test_what_one_registers_another_uses(
    team: Callable[..., dict[str, str]], draft: Make, tmp_path: Path
) -> None:
    made = draft()
    folder = tmp_path / "adapter"
    folder.mkdir()
    shutil.copy(made.weights, folder / "adapter_model.safetensors")
    (folder / "adapter_config.json").write_text(json.dumps(dict(made.config)))
    ann, bob = team("ann"), team("bob")
    register = (
        "import sys; from pathlib import Path; from lftreg.registry import Base, Draft, Registry; import json;"
        "f = Path(sys.argv[1]);"
        "Registry().publish(Draft('support', 'trained', Base('f' * 64, 'starter', 'llama', 15),"
        " f / 'adapter_model.safetensors', json.loads((f / 'adapter_config.json').read_text())))"
    )
    subprocess.run([sys.executable, "-c", register, str(folder)], env=ann, check=True)
    assert lftreg(bob, "show", "support")["ref"] == "support@1"
    lftreg(bob, "verify", "--all")
    lftreg(bob, "alias", "support", "prod")
    lftreg(bob, "export", "support@prod", "--format", "peft", "--output", str(tmp_path / "out"))
    assert (tmp_path / "out" / "adapter_model.safetensors").read_bytes() == made.weights.read_bytes()
    assert lftreg(ann, "show", "support@prod")["aliases"] == ["prod"]
    assert not (tmp_path / "ann" / "blobs").exists()
    assert not (tmp_path / "bob" / "registry.db").exists()


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path, draft: Make) -> None:
    """It may be a disk that is not mounted: made anew it would part the team's files, and all of them look lost."""
    shared = tmp_path / "files"
    shared.mkdir()
    registry = Registry(Home(tmp_path / "home", shared))
    version = registry.publish(draft())
    shared.rename(tmp_path / "away")
    for act in (
        lambda: registry.publish(draft()),
        lambda: registry.file(version, WEIGHTS),
        registry.verify,
        lambda: put(registry.blobs, b"x"),
        registry.gc,
    ):
        with pytest.raises(StorageError, match="is not there"):
            act()
    assert not shared.exists()


def test_what_is_made_in_a_folder_of_a_group_is_open_to_it(tmp_path: Path) -> None:
    shared = tmp_path / "files"
    shared.mkdir()
    shared.chmod(0o2770)
    before = os.umask(0o077)
    try:
        blobs = Blobs(Home(tmp_path / "home", shared))
        found = {put(blobs, str(n).encode()) for n in range(20)}
        with blobs.staging() as stage, stage.streaming() as stream:
            stream.write(b"piece")
            piece = stream.keep()
            blobs.place([piece])
            found.add(piece.sha256)
        apart = blobs.set_apart(piece.sha256)
    finally:
        os.umask(before)
    for place, folders, files in os.walk(shared):
        assert stat.S_IMODE(Path(place).stat().st_mode) == 0o2770, place
        assert all(stat.S_IMODE((Path(place) / name).stat().st_mode) == 0o444 for name in files)
        assert not folders or Path(place) == shared
    assert apart == shared / "quarantine" / piece.sha256
    assert {entry.name for entry in blobs.everything()} == found - {piece.sha256}
    assert {path.name for path in shared.rglob("*") if path.is_file()} == found


def as_user(user: int, group: int, act: Callable[[], None]) -> int:
    """The exit status of a process of another user that does this, forked: it could not read Python itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        os.setgroups([group])
        os.setgid(user)
        os.setuid(user)
        os.umask(0o077)
        act()
    except BaseException:  # noqa: BLE001 nothing of pytest may go on in here
        traceback.print_exc()
        os._exit(1)
    os._exit(0)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can be several users")
def test_users_of_one_group_write_beside_each_other() -> None:
    group = 51_000
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        shared = Path(folder) / "files"
        shared.mkdir()
        os.chown(shared, 0, group)
        shared.chmod(0o2770)

        def fill(first: int, last: int) -> None:
            blobs = Blobs(Home(Path("/nowhere"), shared))
            for n in range(first, last):
                assert blobs.is_whole(put(blobs, str(n).encode()))

        for user, first, last in ((51_001, 0, 40), (51_002, 20, 60), (51_001, 0, 60)):
            assert as_user(user, group, partial(fill, first, last)) == 0
        assert len([path for path in shared.rglob("*") if path.is_file()]) == 60
