"""What is killed: a home with everything in it, a folder of a user's, and the commands that work on them."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tests.crash.watched import killed_once, left_alone

ROWS = 24
OLD = "0003"  # the schema that is migrated
SMALL = ("--max-steps", "4", "--rank", "2", "--batch-size", "8", "--save-every", "1", "--lr", "1e-2")


@dataclass(frozen=True, slots=True)
class World:
    """Everything that one attempt may change, so that another has a copy of its own."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def work(self) -> Path:
        """The folder in which commands are typed."""
        return self.root / "work"

    @property
    def output(self) -> Path:
        """What an export makes."""
        return self.work / "out"

    def copied(self, to: Path) -> World:
        shutil.rmtree(to, ignore_errors=True)
        shutil.copytree(self.root, to, ignore=shutil.ignore_patterns("*.out", "*.err"))
        return World(to)

    def call(
        self, *words: str, name: str = "said", streams: Path | None = None, **environment: str
    ) -> Callable[[], int]:
        """`lftreg WORDS` in this world, for a fork; what it says goes to two files, here or in another folder."""
        return partial(_lftreg, self, words, (streams or self.root) / name, environment)

    def lftreg(self, *words: str) -> Answer:
        """`lftreg WORDS` to its end."""
        ended = left_alone(self.call(*words, name="next"))
        return Answer(ended.code, self.said("next"), self.said("next", "err"), ended.seconds)

    def said(self, name: str = "said", stream: str = "out") -> str:
        place = self.root / f"{name}.{stream}"
        return place.read_text(encoding="utf-8") if place.exists() else ""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a command left that was not killed."""

    code: int
    out: str
    err: str
    seconds: float

    @property
    def document(self) -> Any:
        return json.loads(self.out)


def _lftreg(world: World, words: tuple[str, ...], said: Path, environment: dict[str, str]) -> int:
    """A command as a shell would start it, but for the libraries that are here already."""
    for number, stream in ((1, "out"), (2, "err")):
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        os.dup2(os.open(said.with_suffix(f".{stream}"), flags, 0o666), number)
        opened: Any = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        setattr(sys, f"std{stream}", opened)
    os.chdir(world.work)
    os.environ |= {"LFTREG_HOME": str(world.home), "TMPDIR": str(world.root / "tmp")}
    tempfile.tempdir = None  # it is found anew
    os.environ.update(environment)
    sys.argv = ["lftreg", *words]
    from lftreg.cli.main import main

    code = main()
    if "TELL_MODULES" in environment:
        (world.root / "modules").write_text("\n".join(sys.modules))
    return code


@dataclass(frozen=True, slots=True)
class Operation:
    """A command to kill, and the scene in which it is typed."""

    name: str
    words: tuple[str, ...]
    scene: str = "full"
    trains: bool = False

    @property
    def weight(self) -> int:
        return 1 if self.trains else 2


def operations(base: Path) -> list[Operation]:
    """Every command that changes something. Of each the state is afterwards the one before or the one after."""
    train = ("train", "--data", "./rows.jsonl", "--name", "taught", "--base", str(base), *SMALL)
    take = ("import", "./adapter", "--base", str(base), "--name", "taken")
    return [
        Operation("compose", ("compose", "red:0.7", "blue:0.3", "--name", "mix")),
        Operation("import", take),
        Operation("first use", take, "empty"),
        Operation("alias", ("alias", "red@2", "prod")),
        Operation("alias --remove", ("alias", "red@1", "prod", "--remove")),
        Operation("tag", ("tag", "red@2", "team=desk", "tone=warm", "--remove", "old")),
        Operation("rm", ("rm", "red")),
        Operation("restore", ("restore", "binned")),
        Operation("gc", ("gc", "--keep-days", "0", "--yes"), "littered"),
        Operation("migrate", ("db", "upgrade"), "old"),
        Operation("export", ("export", "red@2", "--output", "./out")),
        Operation("export --merged", ("export", "red@2", "--format", "merged", "--output", "./out")),
        Operation("train", train, trains=True),
        Operation("train --resume", ("train", "--resume", "--save-every", "1"), "interrupted", trains=True),
    ]


class Scenes:
    """The worlds that commands are killed in, made by real commands. `base` is the folder of a small model.

    A folder that was filled before is taken as it is.
    """

    def __init__(self, folder: Path, base: Path) -> None:
        self.folder, self.base = folder, base
        if (folder / "full").exists():
            import_as(self["full"])
            return
        self._full()
        for make in (self._empty, self._interrupted, self._old, self._littered):
            make(self["full"].copied(folder / make.__name__.removeprefix("_")))

    def __getitem__(self, scene: str) -> World:
        return World(self.folder / scene)

    def _full(self) -> None:
        """A trained adapter and imported ones, with tags and aliases; one removed; what an import takes."""
        world = World(self.folder / "full")
        for folder in (world.work, world.root / "tmp"):
            folder.mkdir(parents=True)
        rows = [{"prompt": f"What is {n}?", "response": f"It is {n * n}."} for n in range(ROWS)]
        (world.work / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        warmly(world, "train", "--data", "./rows.jsonl", "--base", str(self.base), *SMALL, "--name", "red")
        warmly(world, "export", "red", "--output", "./adapter")
        _half(world.work / "adapter" / "adapter_model.safetensors")
        for name in ("red", "blue", "binned", "binned"):
            warmly(world, "import", "./adapter", "--base", str(self.base), "--name", name)
        for words in ("tag red@2 old=yes", "alias red@1 prod", "alias red@2 next", "rm binned"):
            warmly(world, *words.split())
        _half(world.work / "adapter" / "adapter_model.safetensors")  # an import brings what is not here yet

    def _empty(self, world: World) -> None:
        shutil.rmtree(world.home)

    def _interrupted(self, world: World) -> None:
        """A run that was killed once it had saved a checkpoint."""
        train = next(operation for operation in operations(self.base) if operation.name == "train")
        runs = world.home / "runs"
        before = set(runs.iterdir())
        ended = killed_once(
            lambda: any((run / "checkpoint.safetensors").exists() for run in {*runs.iterdir()} - before),
            world.call(*train.words),
        )
        assert ended.killed, world.said(stream="err")

    def _old(self, world: World) -> None:
        """The rows in a database of an older schema, as far as it has their columns."""
        import sqlalchemy
        from alembic import command
        from alembic.config import Config

        new, old = world.home / "registry.db", world.root / "old.db"
        engine = sqlalchemy.create_engine(f"sqlite:///{old}")
        with engine.begin() as connection:
            config = Config()
            config.set_main_option("script_location", "lftreg:migrations")
            config.attributes["connection"] = connection
            command.upgrade(config, OLD)
            tables = sqlalchemy.inspect(connection).get_table_names()
            columns = {name: sqlalchemy.inspect(connection).get_columns(name) for name in tables}
        engine.dispose()
        with closing(sqlite3.connect(old)) as target, target:
            target.execute("ATTACH ? AS new", (str(new),))
            for table in set(columns) - {"alembic_version"}:
                names = ", ".join(f'"{column["name"]}"' for column in columns[table])
                target.execute(f"INSERT INTO main.{table} ({names}) SELECT {names} FROM new.{table}")
        old.replace(new)
        # The mark of whose files they are came later.
        (world.home / "blobs" / ".registry").unlink(missing_ok=True)

    def _littered(self, world: World) -> None:
        """Content that nothing refers to, and what a killed process leaves."""
        for n in range(5):
            content = f"nobody's {n}".encode()
            name = hashlib.sha256(content).hexdigest()
            (world.home / "blobs" / name[:2]).mkdir(exist_ok=True)
            (world.home / "blobs" / name[:2] / name).write_bytes(content)
        (world.home / "tmp").mkdir(exist_ok=True)
        (world.home / "tmp" / "tmpleftover").write_bytes(b"half")
        for path in world.home.rglob("*"):
            os.utime(path, (1e9, 1e9))


def _half(weights: Path) -> None:
    """Make other weights of an adapter's."""
    from safetensors.numpy import load_file, save_file

    save_file({name: tensor / 2 for name, tensor in load_file(weights).items()}, weights)


def warmly(world: World, *words: str) -> None:
    """Run a command that must succeed in a fork, and import here what it imported there."""
    ended = left_alone(world.call(*words, "--json", TELL_MODULES="yes"))
    assert ended.code == 0, f"{' '.join(words)}: {ended.code} {world.said(stream='err')}"
    import_as(world)


def import_as(world: World) -> None:
    """Import what the last command there did, if it was asked to tell: the next forks have it then."""
    for name in (world.root / "modules").read_text().split("\n"):
        if name not in sys.modules and name != "__main__":
            try:
                importlib.import_module(name)
            except Exception:  # noqa: BLE001 made at run time, or not to be imported by itself
                continue
