"""Every command on a registry with something in it: for scripts, for people, and where it must refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from lftreg.registry import Registry
from lftreg.registry.records import Version
from tests.cli.conftest import Lftreg, Publish
from tests.evaluation.test_leaderboard import record
from tests.hostile.inputs import write_good
from tests.postgres import Postgres

ROW = {
    "ref", "name", "version", "digest", "domain", "base", "kind", "rank", "bytes", "created_at", "aliases", "tags",
}  # fmt: skip
MADE = {
    "ref", "name", "version", "digest", "base", "rank", "target_modules", "trainable_parameters",
    "total_parameters", "loss", "examples", "tokens", "seconds",
}  # fmt: skip


def test_list_is_one_row_an_adapter(lftreg: Lftreg, publish: Publish, desk: Version) -> None:
    publish("support", seed=9)
    rows = lftreg("list", "--json").document
    assert all(set(row) >= ROW for row in rows)
    assert sorted(row["ref"] for row in rows) == ["advisor_desk@1", "finance@1", "support@2"]
    assert len(lftreg("list", "--all", "--json").document) == 4
    first = next(row for row in lftreg("list", "--all", "--json").document if row["ref"] == "support@1")
    assert first["digest"].startswith("sha256:")
    assert first["domain"] == "customer_support"
    assert first["base"] == "starter"
    assert first["kind"] == "trained"
    assert first["created_at"].endswith("Z")


@pytest.mark.parametrize(
    ("words", "refs"),
    [
        (("--kind", "composed"), ["advisor_desk@1"]),
        (("--domain", "customer_support"), ["support@1"]),
        (("--name", "finance"), ["finance@1"]),
        (("--tag", "team=desk"), ["finance@1"]),
        (("--tag", "team=none"), []),
        (("--base", "starter", "--limit", "1", "--kind", "composed"), ["advisor_desk@1"]),
    ],
)
def test_list_filters(lftreg: Lftreg, desk: Version, words: tuple[str, ...], refs: list[str]) -> None:
    lftreg("tag", "finance", "team=desk")
    assert [row["ref"] for row in lftreg("list", "--json", *words).document] == refs


def test_list_for_people_is_aligned_and_for_pipes_complete(
    lftreg: Lftreg, desk: Version, publish: Publish
) -> None:
    publish("n" * 64, seed=4)
    lines = lftreg("list").out.splitlines()
    assert lines[0].split() == ["ADAPTER", "DOMAIN", "BASE", "KIND", "RANK", "SIZE", "CREATED"]
    assert any(line.startswith("n" * 64 + "@1") for line in lines)
    assert all(line == line.rstrip() for line in lines)
    assert sorted(lftreg("list", "-q").out.split()) == sorted(
        ["advisor_desk@1", "finance@1", "support@1", "n" * 64 + "@1"]
    )


def test_an_empty_registry_says_what_to_do(lftreg: Lftreg, home: Path) -> None:
    done = lftreg("list")
    assert done.out == ""
    assert "no adapters yet" in done.err
    assert "lftreg train customer_support" in done.err
    assert lftreg("list", "--json").document == []
    assert not home.exists()  # looking creates nothing


def test_show_tells_everything(lftreg: Lftreg, desk: Version) -> None:
    document = lftreg("show", "support", "--json").document
    assert set(document) >= (ROW | MADE | {"files", "run", "recipe", "alpha", "samples", "memory", "cost"})
    assert document["base"] == {"id": "starter", "fingerprint": "ab" * 32}
    assert document["loss"] == {
        "train_first": 4.0, "train_last": 0.5, "validation_before": 3.9, "validation_after": 0.31,
        "accuracy_before": None, "accuracy_after": None,
    }  # fmt: skip
    assert document["run"]["libraries"] == {"torch": "2.13.0"}
    assert {file["name"] for file in document["files"]} == {
        "adapter_model.safetensors",
        "adapter_config.json",
    }
    page = lftreg("show", "advisor_desk").out
    assert "0.7 × support@1" in page
    assert "2.0e-08 of the exact weighted sum" in page
    prefix = document["digest"][:19]
    assert lftreg("show", f"support@{prefix}", "--json").document == document


def test_search_finds_by_what_is_known(lftreg: Lftreg, desk: Version) -> None:
    lftreg("tag", "finance", "team=northern")
    found = [
        [row["ref"] for row in lftreg("search", text, "--json").document] for text in ("north", "advisor_d")
    ]
    assert found == [["finance@1"], ["advisor_desk@1"]]
    nothing = lftreg("search", "zebra")
    assert (nothing.out, nothing.err) == ("", "nothing matches 'zebra'\n")


def test_lineage_goes_down_to_what_was_trained(lftreg: Lftreg, desk: Version) -> None:
    tree = lftreg("lineage", "advisor_desk", "--json").document
    assert (tree["ref"], tree["method"], tree["weight"]) == ("advisor_desk@1", "cat", None)
    assert {p["ref"]: p["weight"] for p in tree["parents"]} == {"support@1": 0.7, "finance@1": 0.3}
    page = lftreg("lineage", "advisor_desk").out.splitlines()
    assert page[0].startswith("advisor_desk@1  cat, rank 4")
    assert any("0.7 × support@1  trained on customer_support" in line for line in page[1:])


def test_tags_are_set_shown_and_removed(lftreg: Lftreg, desk: Version) -> None:
    assert lftreg("tag", "support@1", "team=desk", "url=a=b", "--json").document["tags"] == {
        "team": "desk",
        "url": "a=b",
    }
    assert lftreg("tag", "support").out.splitlines() == ["team  desk", "url   a=b"]
    assert lftreg("tag", "support", "--remove", "url", "--json").document["tags"] == {"team": "desk"}
    assert lftreg("show", "support", "--json").document["digest"] == f"sha256:{_digest(lftreg, 'support')}"


def _digest(lftreg: Lftreg, ref: str) -> str:
    digest: str = lftreg("list", "--name", ref, "--json").document[0]["digest"]
    return digest.removeprefix("sha256:")


def test_an_alias_moves_and_remembers(lftreg: Lftreg, publish: Publish, desk: Version) -> None:
    publish("support", seed=9)
    assert lftreg("alias", "support@1", "prod", "--json").document["aliases"] == ["prod"]
    lftreg("alias", "support@2", "prod")
    assert lftreg("show", "support@prod", "--json").document["ref"] == "support@2"
    lftreg("alias", "support", "prod", "--remove")
    assert lftreg("show", "support@prod", code=3).err.startswith("error: ")
    history = lftreg("alias", "support", "--history", "--json").document
    assert [(move["alias"], move["version"]) for move in history] == [
        ("prod", 1),
        ("prod", 2),
        ("prod", None),
    ] or [move["version"] for move in history] == [None, 2, 1]
    assert "taken away" in lftreg("alias", "support").out


def test_rm_and_restore(lftreg: Lftreg, publish: Publish, desk: Version) -> None:
    publish("support", seed=9)
    removed = lftreg("rm", "support", "--json").document
    assert sorted(row["ref"] for row in removed) == ["support@1", "support@2"]
    assert lftreg("show", "support", "--json", code=3).error["hint"]
    assert lftreg("list", "--removed", "--all", "-q").out.split()
    assert lftreg("restore", "support@2", "-q").out == "support@2\n"
    assert lftreg("list", "--name", "support", "-q").out == "support@2\n"
    assert publish("support", seed=10).number == 3


def test_verify_finds_scores_that_lost_their_items(lftreg: Lftreg, desk: Version, registry: Registry) -> None:
    kept = record(registry, "a", [0.5, 0.6], digest=desk.digest)
    assert lftreg("verify", "--all", "--json").document["problems"] == []
    registry.blobs.path(kept.items).unlink()
    done = lftreg("verify", "--all", code=6)
    assert desk.ref in done.out and "what was answered" in done.out
    assert "every version is whole, but 1 score has lost" in done.err and "lftreg eval" in done.err


def test_verify_finds_damage(lftreg: Lftreg, desk: Version, home: Path) -> None:
    whole = lftreg("verify", "--all", "--json").document
    assert (whole["checked"], whole["problems"], whole["files"], whole["set_apart"]) == (3, [], 4, [])
    weights = next(file for file in desk.files if file.name.endswith(".safetensors"))
    (blob,) = (home / "blobs").rglob(weights.sha256)
    blob.chmod(0o644)
    blob.write_bytes(blob.read_bytes()[:-1] + b"\x01")
    done = lftreg("verify", "--all", "--json", code=6)
    assert {problem["ref"] for problem in done.document["problems"]} == {"advisor_desk@1"}
    assert done.error["code"] == "check-failed"
    assert lftreg("verify", "support").err == "1 version is whole\n"
    assert "advisor_desk@1" in lftreg("verify", "advisor_desk", code=6).out
    lftreg("verify", code=2)
    lftreg("verify", "support", "--all", code=2)


@pytest.mark.slow
def test_export_and_import_go_round(lftreg: Lftreg, tiny_llama: Path, tmp_path: Path) -> None:
    write_good(tmp_path / "support", str(tiny_llama))
    lftreg("import", "support", "--base", str(tiny_llama))
    document = lftreg("export", "support", "--output", "out", "--json").document
    assert (
        document["files"] == ["adapter_config.json", "adapter_model.safetensors"]
        or "README.md" in document["files"]
    )
    assert Path(document["path"]).is_dir()
    taken = lftreg("import", "out", "--name", "again", "--json").document
    assert set(taken) >= MADE
    assert taken["ref"] == "again@1"
    assert taken["digest"] == f"sha256:{_digest(lftreg, 'support')}"
    assert taken["loss"] is None
    assert taken["total_parameters"] > taken["trainable_parameters"] == 896
    assert lftreg("list", "--kind", "imported", "-q").out == "again@1\nsupport@1\n"


def test_a_bundle_goes_round(lftreg: Lftreg, tiny_llama: Path, tmp_path: Path) -> None:
    write_good(tmp_path / "support", str(tiny_llama))
    lftreg("import", "support", "--base", str(tiny_llama))
    made = lftreg("export", "support", "--format", "bundle", "--output", "x.lftreg", "--json").document
    assert made["files"] == ["lftreg.json", "adapter_model.safetensors", "adapter_config.json"]
    known = lftreg("import", "x.lftreg", "--json")
    assert (known.document["ref"], known.document["known"]) == ("support@1", True)
    assert "here already" in lftreg("import", "x.lftreg").err
    taken = lftreg("import", "x.lftreg", "--name", "again", "--json").document
    assert (taken["ref"], taken["known"]) == ("again@1", False)
    assert taken["digest"] == f"sha256:{_digest(lftreg, 'support')}"


@pytest.mark.parametrize("name", ["x.recipe.json", "x.toml"])
def test_a_recipe_is_composed_and_not_imported(lftreg: Lftreg, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("{}")
    error = lftreg("import", name, "--json", code=2).error
    assert (error["code"], error["hint"]) == ("recipe", f"lftreg compose --recipe {name}")


def test_import_refuses_what_is_no_adapter(lftreg: Lftreg, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert lftreg("import", "empty", "--name", "x", "--base", "starter", "--json", code=None).code in (2, 3)
    assert lftreg("import", "missing", "--name", "x", "--base", "starter", code=None).code in (2, 3)
    (tmp_path / "pickle").mkdir()
    (tmp_path / "pickle" / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4}))
    (tmp_path / "pickle" / "adapter_model.bin").write_bytes(b"\x80\x04.")
    lftreg("import", "pickle", "--name", "x", "--base", "starter", code=2)
    assert lftreg("list", "--json").document == []


def test_import_asks_for_a_base_it_cannot_know(lftreg: Lftreg, tiny_llama: Path, tmp_path: Path) -> None:
    write_good(tmp_path / "out", "org/unheard-of")
    error = lftreg("import", "out", "--name", "again", "--json", code=2).error
    assert "org/unheard-of" in error["message"] + error["hint"]
    assert lftreg("import", "out", "--base", str(tiny_llama), "--json").document["ref"] == "out@1"
    write_good(tmp_path / "more", str(tiny_llama))
    assert lftreg("import", "more", "--json").document["ref"] == "more@1"  # its base is known by now


def test_bases_counts_their_adapters(lftreg: Lftreg, desk: Version) -> None:
    (base,) = lftreg("bases", "--json").document
    assert base == {
        "id": "starter", "fingerprint": "ab" * 32, "model_type": "llama", "parameters": 12_600_000, "adapters": 3,
    }  # fmt: skip
    assert "12.6 M" in lftreg("bases").out


def test_db(lftreg: Lftreg, home: Path, tmp_path: Path) -> None:
    fresh = lftreg("db", "--json").document
    assert fresh["schema"] is None
    assert not home.exists()
    upgraded = lftreg("db", "upgrade", "--json").document
    assert upgraded["schema"] == upgraded["head"] == fresh["head"]
    assert lftreg("db", "current", "--json").document["up_to_date"] is True
    copy = Path(lftreg("db", "backup", "copy.db", "--json").document["path"])
    assert copy.stat().st_size > 0
    shutil.rmtree(home)
    home.mkdir()
    copy.rename(home / "registry.db")
    assert lftreg("list", "--json").document == []


def test_a_registry_moves_to_postgresql(lftreg: Lftreg, publish: Publish, postgres: Postgres) -> None:
    publish("desk")
    name = postgres.new()
    url = postgres.url(name).replace("postgres@", "postgres:s3cret@")
    assert lftreg("db", "copy", url, "--json").document["rows"]["versions"] == 1
    again = lftreg("db", "copy", url, "--json", code=2)
    assert "not empty" in again.error["message"]
    assert lftreg("db", "copy", "mysql://ann:s3cret@db/x", "--json", code=2).error["code"] == "usage"
    there = {"LFTREG_DATABASE_URL": url}
    assert [row["ref"] for row in lftreg("list", "--json", **there).document] == ["desk@1"]
    shown = lftreg("db", "--json", **there)
    assert shown.document["up_to_date"] and "s3cret" not in shown.out + again.err
    postgres.drop(name)
    gone = lftreg("list", "--json", code=1, **there)
    assert "does not exist" in gone.error["message"] and "s3cret" not in gone.err


def test_config_shows_where_values_come_from(lftreg: Lftreg, home: Path, tmp_path: Path) -> None:
    shown = lftreg("config", "show", "--origin", "--json").document
    assert shown["home"] == {"value": str(home), "origin": "LFTREG_HOME"}
    assert shown["base"] == {"value": "starter", "origin": "default"}
    lftreg("config", "set", "base", "org/small")
    path = lftreg("config", "path", "--json").document["path"]
    assert lftreg("config", "show", "--origin", "--json").document["base"] == {
        "value": "org/small",
        "origin": path,
    }
    lftreg("config", "set", "base", "org/project", "--project")
    assert lftreg("config", "--json").document["base"] == "org/project"
    overruled = lftreg("config", "set", "base", "org/other", LFTREG_BASE="org/loud")
    assert "LFTREG_BASE sets base too, and wins" in overruled.err
    lftreg("config", "set", "base", "--unset", "--project")
    assert lftreg("config", "--json").document["base"] == "org/other"
    assert "Did you mean 'base'" in lftreg("config", "set", "bas", "x", code=2).err
    lftreg("config", "set", "base", code=2)


@pytest.mark.parametrize(
    ("command", "name", "key"),
    [
        ("domains", "customer_support", "name"),
        ("methods", "cat", "name"),
        ("metrics", "chrf", "name"),
        ("targets", "llama", "family"),
    ],
)
def test_what_plugins_offer_is_listed(lftreg: Lftreg, command: str, name: str, key: str) -> None:
    found = {entry[key]: entry for entry in lftreg(command, "--json").document}
    assert name in found
    assert name in lftreg(command).out
    assert lftreg(command, "-q").out.split() == list(found)


@pytest.mark.slow
def test_doctor_on_a_fresh_machine(lftreg: Lftreg, home: Path) -> None:
    document = lftreg("doctor", "--json").document
    assert document["ok"] is True
    assert {finding["subject"] for finding in document["findings"]} >= {
        "home",
        "database",
        "starter",
        "plugins",
    }
    assert not home.exists()


@pytest.mark.slow
def test_doctor_tells_of_a_home_that_is_a_file(lftreg: Lftreg, home: Path) -> None:
    home.write_text("mine")
    error = lftreg("doctor", "--json", code=6).error
    assert error["message"] == f"home: {home} is no folder" and "LFTREG_HOME" in error["hint"]
    assert home.read_text() == "mine"


@pytest.mark.slow
def test_doctor_tells_of_a_broken_database(lftreg: Lftreg, home: Path) -> None:
    home.mkdir()
    (home / "registry.db").write_bytes(b"not a database" * 100)
    done = lftreg("doctor", "--json", code=6)
    assert done.document["ok"] is False
    assert done.error["message"].startswith("database: ")
