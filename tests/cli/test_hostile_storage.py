"""Hostile inputs 81 and 82, through the real command: a registry that cannot be written, a disk that is full."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy
import pytest
from safetensors.numpy import save_file

from lftreg.paths import Home, starter_folder
from lftreg.registry import CONFIG, WEIGHTS, Registry
from lftreg.tensors import read_header
from tests import confined
from tests.cli.conftest import Done
from tests.registry.schemas.make import fill, load

SCHEMAS = Path(__file__).parents[1] / "registry" / "schemas"
READS = (
    ("list", "--all"), ("show", "support@prod"), ("search", "desk"), ("verify", "--all"), ("lineage", "mixed"),
    ("alias", "support", "--history"), ("bases",), ("keys", "list"), ("db", "current"), ("db", "upgrade"),
    ("leaderboard", "--all"),
)  # fmt: skip
WRITES = (
    ("tag", "support", "a=b"), ("alias", "support@1", "prod"), ("alias", "support", "prod", "--remove"),
    ("rm", "support"), ("restore", "gone"), ("keys", "add", "k"), ("keys", "rm", "intern"),
)  # fmt: skip

Run = Callable[..., Done]


def run(*words: str, home: Path, bound: bool = False, **limits: int) -> Done:
    """`lftreg WORDS`, `bound` by permissions even as root, or within limits."""
    environment = os.environ | {"LFTREG_HOME": str(home)}
    done = confined.lftreg(*words, environment=environment, folder=home.parent, bound=bound, **limits)
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Path]:
    """A folder for homes, whose permissions are given back."""
    folder = tmp_path / "room"
    folder.mkdir()
    yield folder
    for path in [folder, *folder.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(0o755)


def filled(home: Path, folder: Path) -> Path:
    with Registry(Home(home)) as registry:
        fill(registry, folder)
    return home


def contents(home: Path, *, without: tuple[str, ...] = ()) -> dict[str, bytes]:
    """All files but those that SQLite makes to read, of which the one that rows may wait in must not have been made."""
    files = {str(path.relative_to(home)): path.read_bytes() for path in home.rglob("*") if path.is_file()}
    if not files.get("registry.db-wal"):
        files = {name: content for name, content in files.items() if not name.endswith(("-wal", "-shm"))}
    return {name: content for name, content in files.items() if not name.startswith(without)}


def shut(home: Path) -> None:
    for path in [home, *home.rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)


def mounted(source: Path, target: Path, *options: str) -> bool:
    target.mkdir()
    command = ["mount", *options, str(source), str(target)]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.fixture(params=["permissions", "mount"])
def readonly(request: pytest.FixtureRequest, room: Path, tmp_path: Path) -> Iterator[tuple[Path, Run]]:
    """A home that cannot be written, and how to run a command in it: a stranger's, or on a disc."""
    home = filled(room / "home", tmp_path)
    if request.param == "permissions":
        shut(home)
        yield home, partial(run, home=home, bound=True)
        return
    place = room / "disc"
    if not mounted(home, place, "--bind", "-o", "ro"):
        pytest.skip("only root may mount")
    try:
        yield place, partial(run, home=place)
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_81_read_only(readonly: tuple[Path, Run]) -> None:
    home, lftreg = readonly
    before = contents(home)
    for words in READS:
        done = lftreg(*words)
        assert done.code == 0, (words, done.err)
    assert "support@2" in lftreg("list").out and "refused" not in lftreg("list").err
    for words in WRITES:
        done = lftreg(*words, "--json")
        assert (done.code, done.error["code"], done.out) == (1, "read-only", ""), words
    assert contents(home) == before


def test_81_read_only_takes_nothing_in_and_gives_out_everything(
    readonly: tuple[Path, Run], room: Path
) -> None:
    home, lftreg = readonly
    before = contents(home)
    done = lftreg("export", "support", "--output", str(room / "peft"))
    assert done.code == 0, done.err
    done = lftreg("import", str(room / "peft"), "--name", "guest", "--base", "starter", "--json")
    assert (done.code, done.error["code"], done.out) == (1, "read-only", "")
    done = lftreg("db", "backup", str(room / "kept.db"))
    assert done.code == 0, done.err
    with Registry(Home(home), f"sqlite:///{room}/kept.db") as kept:
        assert len(kept.list()) == 7
    assert contents(home) == before


def test_81_read_only_of_an_older_schema(room: Path) -> None:
    home = room / "home"
    load(SCHEMAS / "0002.sql", Home(home))
    shut(home)
    before = contents(home)
    done = run("list", "--json", home=home, bound=True)
    assert (done.code, done.error["code"]) == (1, "read-only")
    assert "the registry stays at schema 0002" in done.error["message"]
    assert contents(home) == before


def test_81_what_waits_beside_the_database_is_not_overlooked(room: Path, tmp_path: Path) -> None:
    """A folder that was copied while somebody wrote: the newest rows stand in the log beside the database only."""
    home = filled(room / "home", tmp_path)
    with Registry(Home(home)) as registry:
        registry.tag("support", {"late": "yes"})
        copied = shutil.copytree(home, room / "copied", ignore=shutil.ignore_patterns("*-shm"))
    shut(copied)
    before = contents(copied)
    done = run("show", "support", "--json", home=copied, bound=True)
    assert (done.code, done.error["code"]) == (1, "unfinished")
    assert contents(copied) == before
    for path in [copied, *copied.rglob("*")]:
        path.chmod(0o755)
    assert run("show", "support", "--json", home=copied).document["tags"]["late"] == "yes"


def test_81_a_reader_without_rights_sees_what_a_writer_just_wrote(room: Path, tmp_path: Path) -> None:
    home = filled(room / "home", tmp_path)
    with Registry(Home(home)) as registry:
        for n in range(3):
            registry.tag("support", {"n": str(n)})
            done = run("show", "support", "--json", home=home, bound=True)
            assert done.document["tags"]["n"] == str(n), done.err


LIMIT = 8 << 10  # bytes: less than a transaction takes


@pytest.fixture(params=["limit", "disc"])
def full(request: pytest.FixtureRequest, room: Path) -> Iterator[tuple[Path, Callable[[], None], Run, Run]]:
    """A home, what makes its disk full, and how to run a command on it while it is, and after."""
    if request.param == "limit":
        home = room / "home"
        yield home, lambda: None, partial(run, home=home, FSIZE=LIMIT), partial(run, home=home)
        return
    disc = room / "disc"
    if not mounted(Path("tmpfs"), disc, "-t", "tmpfs", "-o", "size=6m"):
        pytest.skip("only root may mount")

    def stuff() -> None:
        with (disc / "stuffing").open("wb") as file, pytest.raises(OSError):
            while True:
                os.write(file.fileno(), bytes(4096))

    def after(*words: str) -> Done:
        (disc / "stuffing").unlink(missing_ok=True)
        return run(*words, home=disc / "home")

    try:
        yield disc / "home", stuff, partial(run, home=disc / "home"), after
    finally:
        subprocess.run(["umount", str(disc)], check=True)


def write_guest(folder: Path) -> Path:
    """A small adapter that fits the starter."""
    folder.mkdir()
    base = read_header(starter_folder() / "model.safetensors").tensors
    zeros = {
        f"base_model.model.{key.removesuffix('.weight')}.lora_{side}.weight": numpy.zeros(shape, "f4")
        for key, info in base.items()
        if key.endswith("q_proj.weight")
        for side, shape in (("A", (2, info.shape[1])), ("B", (info.shape[0], 2)))
    }
    save_file(zeros, folder / WEIGHTS)
    config = {"peft_type": "LORA", "r": 2, "lora_alpha": 2, "target_modules": ["q_proj"]}
    (folder / CONFIG).write_text(json.dumps(config))
    return folder


def test_82_disk_full(full: tuple[Path, Callable[[], None], Run, Run], tmp_path: Path, room: Path) -> None:
    home, stuff, lftreg, after = full
    filled(home, tmp_path)
    folder = write_guest(room / "peft")
    stuff()
    # Files come first: some that no row knows are no harm. And what SQLite has room for in the file that it keeps
    # beside the database, such as which base a folder is, may stay.
    apart = ("blobs", "registry.db-")
    before = contents(home, without=apart)
    listed = run("list", "--all", "--json", home=home).document
    writes = (*WRITES, ("import", str(folder), "--name", "guest", "--base", "starter"))
    for words in writes:
        done = lftreg(*words, "--json")
        assert (done.code, done.error["code"], done.out) == (1, "disk-full", ""), words
    with Registry(Home(home)) as other:  # while others have it open, it is another file that cannot grow
        assert other.list()
        for words in writes[:3]:
            assert lftreg(*words, "--json").error["code"] == "disk-full", words
    assert lftreg("list", "--all", "--json").document == listed
    assert contents(home, without=apart) == before
    assert after("alias", "support@1", "prod").code == 0
    assert after("show", "support@prod", "--json").document["ref"] == "support@1"
    assert after("verify", "--all").code == 0


def test_82_disk_full_while_moving_to_a_newer_schema(full: tuple[Path, Callable[[], None], Run, Run]) -> None:
    home, stuff, lftreg, after = full
    load(SCHEMAS / "0003.sql", Home(home))
    stuff()
    before = contents(home)
    done = lftreg("list", "--json")
    assert (done.code, done.error["code"], done.out) == (1, "disk-full", ""), done.err
    assert contents(home) == before
    assert len(json.loads(after("list", "--json").out)) == 7
