"""`gc`, `stats` and what `verify` tells of damage, as a person and a script see them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from lftreg.paths import Home
from lftreg.registry import WEIGHTS, Registry
from lftreg.training.runs import Request, Runs
from tests.cli.conftest import Lftreg, Publish
from tests.cli.test_hostile_storage import write_guest


def test_gc_tells_what_it_would_take_and_takes_it(lftreg: Lftreg, publish: Publish, home: Path) -> None:
    kept, gone = publish("kept", seed=1), publish("gone", seed=2)
    lftreg("rm", "gone")
    assert "nothing to delete" in lftreg("gc").err
    foretold = lftreg("gc", "--keep-days", "0", "--dry-run", "--json").document
    assert foretold["dry_run"] is True and [one["ref"] for one in foretold["versions"]] == ["gone@1"]
    size = next(file.size for file in gone.files if file.name == WEIGHTS)
    assert [(one["kind"], one["bytes"]) for one in foretold["files"]] == [("blob", size)]
    assert foretold["bytes"] == size and Path(foretold["files"][0]["path"]).exists()
    done = lftreg("gc", "--keep-days", "0")
    assert "gone@1" in done.out and "files that nothing names" in done.out and "freed" in done.err
    assert not Path(foretold["files"][0]["path"]).exists()
    again = lftreg("gc", "--keep-days", "0", "--json").document
    assert (again["versions"], again["files"], again["bytes"]) == ([], [], 0)
    assert lftreg("verify", "--all", "--json").document["problems"] == []
    assert lftreg("restore", "gone", code=3).err and lftreg("show", kept.ref).out
    assert lftreg("gc", "--keep-days", "-1", code=2).err


def test_gc_takes_runs_that_nobody_went_on_with(lftreg: Lftreg, home: Path) -> None:
    runs = Runs(Home(home))
    old, new = (
        runs.begin(Request(name, "starter", "f" * 64, "d" * 64, {}, {}, 1)) for name in ("old", "new")
    )
    (old.path / "checkpoint.safetensors").write_bytes(bytes(1000))
    for path in old.path.iterdir():
        os.utime(path, (time.time() - 40 * 86400,) * 2)
    foretold = lftreg("gc", "--dry-run", "--json").document
    assert [one["path"] for one in foretold["files"]] == [str(old.path)] and foretold["bytes"] > 1000
    with old.held():  # somebody goes on with it after all
        assert lftreg("gc", "--json").document["files"] == []
    assert old.path.exists()
    for path in old.path.iterdir():
        os.utime(path, (time.time() - 40 * 86400,) * 2)
    assert [one["kind"] for one in lftreg("gc", "--json").document["files"]] == ["run"]
    assert not old.path.exists() and new.path.exists()


def test_stats_counts_what_is_shared(lftreg: Lftreg, publish: Publish, home: Path) -> None:
    assert lftreg("stats", "--json").document["versions"] == 0 and not home.exists()
    for n in range(4):
        publish(f"copy{n}", seed=1)
    publish("other", seed=2)
    lftreg("rm", "other")
    found = lftreg("stats", "--json").document
    assert (found["adapters"], found["versions"], found["removed"]) == (4, 4, 1)
    assert found["named"] > 2 * found["unique"] == 2 * found["on_disk"] and found["database"] > 0
    assert found["files"] == 3 and found["garbage"] == 0 and len(found["largest"]) == 5
    out = lftreg("stats").out
    assert "5 versions share" in out and "and 1 in the bin" in out


def test_damage_is_shown_wherever_a_version_is(lftreg: Lftreg, publish: Publish, registry: Registry) -> None:
    made = publish("support", seed=1)
    path = registry.file(made, WEIGHTS)
    path.chmod(0o644)
    path.write_bytes(b"not what it was")
    found = lftreg("verify", "support", "--json", code=6).document
    assert [Path(one).parent.name for one in found["set_apart"]] == ["quarantine"]
    assert lftreg("list", "--json").document[0]["damage"] == f"{WEIGHTS} is not what was stored"
    assert "damaged" in lftreg("list").out and "heals it" in lftreg("show", "support").out
    failed = lftreg("export", "support", "--output", "out", "--json", code=6).error
    assert "support@1" in failed["message"] and "heals" in failed["hint"]
    publish("support", seed=1)
    assert lftreg("list", "--all", "--json").document[1]["damage"] is None
    assert lftreg("verify", "--all").err == "2 versions are whole\n"
    lftreg("verify", "support", "--repair", code=2)


def test_a_registry_that_lost_its_database_is_not_told_as_empty(
    lftreg: Lftreg, publish: Publish, home: Path, tmp_path: Path
) -> None:
    publish("kept")
    (home / "registry.db").rename(home / "elsewhere.db")
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(f'{{"prompt": "a {n}", "response": "b"}}\n' for n in range(12)))
    for words in (
        ("list",), ("search", "kept"), ("show", "kept"), ("verify", "--all"), ("stats",), ("gc",),
        ("train", "--data", str(rows), "--dry-run"),
    ):  # fmt: skip
        assert lftreg(*words, "--json", code=6).error["code"] == "no-database", words
    assert "no database that knows them" in lftreg("doctor", code=6).out
    (home / "registry.db").unlink(missing_ok=True)  # a training that began remembers its base
    (home / "elsewhere.db").rename(home / "registry.db")
    assert lftreg("list").out


def test_verify_marks_nothing_beside_the_files_of_another_registry(
    lftreg: Lftreg, publish: Publish, home: Path, tmp_path: Path
) -> None:
    publish("kept")
    (home / "blobs").rename(home / "ours")
    (home / "blobs" / "ab").mkdir(parents=True)
    (home / "blobs" / ".registry").write_text("0" * 32)
    assert lftreg("verify", "--all", "--json", code=6).error["code"] == "another-registry"
    assert lftreg("verify", "kept", "--json", code=6).error["code"] == "another-registry"
    assert [row["damage"] for row in lftreg("list", "--json").document] == [None]


def test_an_empty_registry_says_so_and_where(lftreg: Lftreg, tmp_path: Path) -> None:
    assert lftreg("search", "x").err.startswith("there are no adapters yet\n")
    url = f"sqlite:///{tmp_path}/typo.db"
    assert f"no adapters yet in {url}" in lftreg("list", LFTREG_DATABASE_URL=url).err


def test_an_alias_that_moves_says_from_where(lftreg: Lftreg, publish: Publish) -> None:
    publish("kept", seed=1), publish("kept", seed=2)
    assert lftreg("alias", "kept@1", "prod").err.startswith("kept@prod is now kept@1\n")
    assert lftreg("alias", "kept@2", "prod").err.startswith("kept@prod is now kept@2, and was kept@1\n")
    assert lftreg("alias", "kept@2", "prod").err.startswith("kept@prod is kept@2 already\n")
    lftreg("alias", "kept@2", "canary")
    assert {move["alias"] for move in lftreg("alias", "kept@prod", "--history", "--json").document} == {
        "prod"
    }
    assert {move["alias"] for move in lftreg("alias", "kept", "--history", "--json").document} == {
        "prod",
        "canary",
    }


def test_verify_says_what_it_is_asked_wrongly(lftreg: Lftreg, publish: Publish, home: Path) -> None:
    version = publish("kept")
    assert "not both" in lftreg("verify", "kept", "--all", code=2).err
    assert "--repair is for everything" in lftreg("verify", "--repair", code=2).err
    Registry(Home(home)).file(version, WEIGHTS).unlink()
    assert "error: the version is damaged\n hint: make it again" in lftreg("verify", "kept", code=6).err


def test_a_registry_whose_all_is_in_the_bin_is_not_told_as_new(lftreg: Lftreg, publish: Publish) -> None:
    publish("kept")
    lftreg("rm", "kept")
    for words in (("list",), ("search", "kept")):
        assert "everything is in the bin: `lftreg list --removed` shows it" in lftreg(*words).err
    lftreg("gc", "--keep-days", "0")
    assert lftreg("gc", "--keep-days", "0").err == "nothing to delete\n"
    assert "no adapters yet" in lftreg("list").err


def test_quiet_leaves_what_a_script_goes_on_with(lftreg: Lftreg, tmp_path: Path) -> None:
    guest = write_guest(tmp_path / "guest")
    assert lftreg("import", str(guest), "--base", "starter", "-q").out == "guest@1\n"
    assert lftreg("db", "backup", str(tmp_path / "kept.db"), "-q").out == f"{tmp_path}/kept.db\n"
